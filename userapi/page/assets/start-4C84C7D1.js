document.getElementById("script").hidden = true;

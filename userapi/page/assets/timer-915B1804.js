var t=new Map;addEventListener("message",({data:{id:e,ms:s}})=>{if(clearTimeout(t.get(e)),t.delete(e),s!==void 0){let n=()=>{t.delete(e),postMessage(e)};t.set(e,setTimeout(n,s))}});

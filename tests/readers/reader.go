// Reads delimited frames with protodelim. See __init__.py.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/encoding/protodelim"

	pb "sparrow/readers/pb"
)

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		frame := &pb.Frame{}
		err := protodelim.UnmarshalFrom(in, frame)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fmt.Fprintf(out, "error: %v\n", err)
			return
		}
		m, about := frame.GetMessage(), frame.GetMessage().GetAbout()
		fmt.Fprintf(out, "%d %d %d %s/%s %s %d %d %x %d %d %s", m.GetStream(), m.GetId(), m.GetSettled(), m.GetFromId(),
			m.GetFromDevice(), m.GetDestId(), m.GetKind(), m.GetStamp(), m.GetBody(), about.GetStream(),
			len(about.GetIds()), about.GetFromDevice())
		for _, id := range about.GetIds() {
			fmt.Fprintf(out, " %d", id)
		}
		fmt.Fprintln(out)
	}
}

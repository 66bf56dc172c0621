// Pfsyncdump prints pfsync packets from a capture file or an interface; see pfsyncdump(8).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C kills
	if err := app(os.Stdin, os.Stdout, os.Stderr).RunContext(ctx, append([]string{"pfsyncdump"}, separate(os.Args[1:])...)); err != nil {
		fmt.Fprintf(os.Stderr, "pfsyncdump: %v\n", err)
		os.Exit(1)
	}
}

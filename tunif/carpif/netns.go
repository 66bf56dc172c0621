package carpif

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// inNamespace runs f on a thread of that network namespace, which ends with it.
func inNamespace(ns netns.NsHandle, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

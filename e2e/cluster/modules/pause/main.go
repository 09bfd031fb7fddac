// The program that holds namespaces open: as the first process of the node, and of every pod. It has nothing to do but
// to stay, and to collect the dead processes that the kernel hands to a first process when their parents are gone.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

// bury collects every child that has ended; the signal says only that there was at least one.
func bury() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	bury()
	for {
		select {
		case <-end:
			return
		case <-children:
			bury()
		}
	}
}

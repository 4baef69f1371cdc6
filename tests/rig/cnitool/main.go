// The CNI project's own caller of plugins: what a runtime does for a pod, done by hand for a network namespace.
package main

import (
	"fmt"
	"os"

	"github.com/containernetworking/cni/cnitool/cmd"
)

func main() {
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

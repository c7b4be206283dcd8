// Command ktrail is the audit trail for Kubernetes.
package main

import (
	"os"

	"github.com/ktrail/ktrail/internal/cli"
)

func main() { os.Exit(cli.Main()) }

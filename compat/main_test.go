package compat

import (
	"io"
	"os"
	"testing"

	"k8s.io/klog/v2"
)

// The API server's loader warns of every unknown key, here some thousand times.
func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

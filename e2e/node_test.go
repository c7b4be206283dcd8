package e2e

import (
	"os"
	"testing"
)

// TestInsideNode is run by [TestNode] in namespaces of its own.
func TestInsideNode(t *testing.T) {
	if os.Getenv(roleVar) != "inside" {
		t.Skip("run by TestNode")
	}
	n := startNode(t)
	_ = n
}

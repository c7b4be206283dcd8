package config_test

import (
	"os"
	"testing"

	"github.com/ktrail/ktrail/internal/node/config"
)

func BenchmarkPatch(b *testing.B) {
	data, err := os.ReadFile("testdata/kubeadm/1.37.yaml")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := config.Patch(config.StaticPod, data, enable()); err != nil {
			b.Fatal(err)
		}
	}
}

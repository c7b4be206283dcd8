package e2e

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// writeImage makes an image of one program, as docker save would write it.
// Images of the components are made here since none can be pulled.
func writeImage(out, program, reference string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	layer, err := os.Create(out + ".layer")
	if err != nil {
		return err
	}
	defer func() {
		layer.Close()
		os.Remove(layer.Name())
	}()
	name := filepath.Base(program)
	sum := sha256.New()
	if err := writeLayer(io.MultiWriter(layer, sum), program, name); err != nil {
		return err
	}
	digest := fmt.Sprintf("%x", sum.Sum(nil))
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config":  map[string]any{"Env": []string{"PATH=/usr/local/bin:/usr/bin:/bin"}, "Entrypoint": []string{"/usr/local/bin/" + name}},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
		"history": []any{map[string]any{"created_by": "e2e"}},
	})
	if err != nil {
		return err
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest, err := json.Marshal([]any{map[string]any{"Config": configName, "RepoTags": []string{reference}, "Layers": []string{digest + ".tar"}}})
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	for _, e := range []struct {
		name string
		data []byte
	}{{configName, config}, {"manifest.json", manifest}} {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.data))}); err != nil {
			return err
		}
		if _, err := w.Write(e.data); err != nil {
			return err
		}
	}
	size, err := layer.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: digest + ".tar", Mode: 0o644, Size: size}); err != nil {
		return err
	}
	if _, err := io.Copy(w, layer); err != nil {
		return err
	}
	return w.Close()
}

func writeLayer(to io.Writer, program, name string) error {
	w := tar.NewWriter(to)
	for _, dir := range []string{"usr", "usr/local", "usr/local/bin", "etc", "tmp"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: "usr/local/bin/" + name, Mode: 0o755, Size: st.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(w, f); err != nil {
		return err
	}
	// Manifests name the program without a directory, and PATH need not be searched.
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: "/usr/local/bin/" + name}); err != nil {
		return err
	}
	return w.Close()
}

package policy

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed presets/*.yaml
var presetFiles embed.FS

// presetNames are the presets in the order in which people should meet them.
var presetNames = [...]string{"recommended", "metadata", "minimal", "forensic", "gce", "cis", "stig"}

// Preset is a policy that ktrail brings along. Presets mean the same from
// Kubernetes 1.24 on: none uses group "*", which is new in 1.36.
type Preset struct {
	// Name is what people ask for it by.
	Name string
	// Purpose is one line that says what it records and for whom it is.
	Purpose string
	// YAML is the file as an API server takes it, with comments that give the
	// reason for each rule.
	YAML []byte
}

// PresetNames are the names of all presets.
func PresetNames() []string { return slices.Clone(presetNames[:]) }

// Presets are all presets. Each call makes them anew, so that the caller may
// change what it gets.
func Presets() []Preset {
	all := make([]Preset, 0, len(presetNames))
	for _, name := range presetNames {
		p, ok := LookupPreset(name)
		if !ok {
			panic(fmt.Sprintf("policy: preset %s is not in the binary", name)) // a test calls this
		}
		all = append(all, p)
	}
	return all
}

// LookupPreset is the preset of that name.
func LookupPreset(name string) (Preset, bool) {
	text, err := presetFiles.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		return Preset{}, false
	}
	// The first line of each file is "# NAME: PURPOSE".
	first, _, _ := strings.Cut(string(text), "\n")
	_, purpose, _ := strings.Cut(first, ": ")
	return Preset{Name: name, Purpose: purpose, YAML: text}, true
}

package advise

import (
	"errors"
	"strings"

	"sigs.k8s.io/yaml"
)

// webhook takes the server out of a kubeconfig: that of the current context, as
// the API server does, or of the only cluster. The error is why nothing can be
// loaded from it.
func webhook(data []byte) (server string, insecure bool, err error) {
	var k struct {
		Clusters []struct {
			Name    string
			Cluster struct {
				Server   string
				Insecure bool `json:"insecure-skip-tls-verify"`
			}
		}
		Contexts []struct {
			Name    string
			Context struct{ Cluster string }
		}
		Current string `json:"current-context"`
	}
	if err := yaml.Unmarshal(data, &k); err != nil {
		return "", false, errors.New(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: yaml: "))
	}
	if len(k.Clusters) == 0 {
		return "", false, errors.New("it lists no clusters")
	}
	name := ""
	for _, c := range k.Contexts {
		if c.Name == k.Current {
			name = c.Context.Cluster
		}
	}
	for _, c := range k.Clusters {
		if c.Name == name || len(k.Clusters) == 1 {
			return c.Cluster.Server, c.Cluster.Insecure, nil
		}
	}
	return "", false, nil
}

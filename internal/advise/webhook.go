package advise

import "sigs.k8s.io/yaml"

// webhook takes the server out of a kubeconfig: that of the current context, as
// the API server does, or of the only cluster.
func webhook(data []byte) (server string, insecure bool) {
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
	if yaml.Unmarshal(data, &k) != nil {
		return "", false
	}
	name := ""
	for _, c := range k.Contexts {
		if c.Name == k.Current {
			name = c.Context.Cluster
		}
	}
	for _, c := range k.Clusters {
		if c.Name == name || len(k.Clusters) == 1 {
			return c.Cluster.Server, c.Cluster.Insecure
		}
	}
	return "", false
}

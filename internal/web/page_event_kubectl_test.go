package web

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/ktrail/ktrail/audit"
)

func TestKubectlCommand(t *testing.T) {
	const body = `,"requestObject":`
	for _, c := range []struct{ uri, verb, object, more, want string }{
		{"/api/v1/namespaces/a/pods/p", "get", `"resource":"pods","namespace":"a","name":"p"`, "", "kubectl get pods/p -o yaml --namespace=a"},
		{"/apis/apps/v1/namespaces/a/deployments/d", "delete", `"resource":"deployments","apiGroup":"apps","namespace":"a","name":"d"`, "", "kubectl delete deployments.apps/d --namespace=a"},
		{"/api/v1/secrets?labelSelector=a%3Db&limit=500", "list", `"resource":"secrets"`, "", "kubectl get secrets -A --selector=a=b"},
		{"/api/v1/namespaces/a/pods?watch=1&fieldSelector=spec.nodeName%21%3Dx", "watch", `"resource":"pods","namespace":"a"`, "", "kubectl get pods '--field-selector=spec.nodeName!=x' --watch --namespace=a"},
		{"/api/v1/namespaces/a/pods", "deletecollection", `"resource":"pods","namespace":"a"`, "", "kubectl delete pods --all --namespace=a"},
		{"/api/v1/namespaces/a/pods/p/exec?command=sh&command=-c&command=cat+%2Fetc%2Fshadow+%27%3B&container=api&stdin=true&tty=false", "create", `"resource":"pods","namespace":"a","name":"p","subresource":"exec"`, "", `kubectl exec p --stdin --container=api --namespace=a -- sh -c 'cat /etc/shadow '\'';'`},
		{"/api/v1/namespaces/a/pods/p/log?container=api&follow=true&sinceSeconds=60", "get", `"resource":"pods","namespace":"a","name":"p","subresource":"log"`, "", "kubectl logs p --container=api --follow --since=60s --namespace=a"},
		{"/api/v1/namespaces/a/serviceaccounts/s/token", "create", `"resource":"serviceaccounts","namespace":"a","name":"s","subresource":"token"`, "", "kubectl create token s --namespace=a"},
		{"/apis/apps/v1/namespaces/a/deployments/d/scale", "update", `"resource":"deployments","apiGroup":"apps","namespace":"a","name":"d","subresource":"scale"`, body + `{"spec":{"replicas":0}}`, "kubectl scale deployments.apps/d --replicas=0 --namespace=a"},
		{"/apis/apps/v1/namespaces/a/deployments/d", "patch", `"resource":"deployments","apiGroup":"apps","namespace":"a","name":"d"`, body + `{"a":"it's é"}`, `kubectl patch deployments.apps/d --type=strategic -p '{"a":"it'\''s \u00e9"}' --namespace=a`},
		{"/apis/x.io/v1/things/d", "patch", `"resource":"things","apiGroup":"x.io","name":"d"`, body + `[{"op":"remove","path":"/a"}]`, `kubectl patch things.x.io/d --type=json -p '[{"op":"remove","path":"/a"}]'`},
		{"/api/v1/nodes/n?fieldManager=me&force=true", "patch", `"resource":"nodes","name":"n"`, body + `{"a":1}`, "kubectl apply -f - --server-side --field-manager=me --force-conflicts=true <<'EOF'\n{\"a\":1}\nEOF"},
		{"/api/v1/namespaces/a/configmaps", "create", `"resource":"configmaps","namespace":"a","name":"c"`, body + `{"data":{"x":"1\nEOF\nrm -rf /\n"}}`, "kubectl create -f - --namespace=a <<'EOF'\n{\"data\":{\"x\":\"1\\nEOF\\nrm -rf /\\n\"}}\nEOF"},
		{"/api/v1/namespaces/a/configmaps?dryRun=All", "create", `"resource":"configmaps","namespace":"a","name":"c"`, "", "kubectl create -f OBJECT.yaml --dry-run=server --namespace=a"},
		{"/api/v1/namespaces/a/pods/p/eviction", "create", `"resource":"pods","namespace":"a","name":"p","subresource":"eviction"`, "", "kubectl create --raw /api/v1/namespaces/a/pods/p/eviction -f OBJECT.json"},
		{"/healthz?verbose", "get", "", "", "kubectl get --raw '/healthz?verbose'"},
		{"/metrics", "options", "", "", ""},
		{"--x", "get", "", "", ""},
		// What tries to be a flag or a command.
		{"/api/v1/pods/x", "delete", `"resource":"--all","name":"x"`, "", "kubectl delete --raw /api/v1/pods/x"},
		{"/api/v1/pods/x", "delete", `"resource":"pods","name":"--all"`, "", "kubectl delete --raw /api/v1/pods/x"},
		{"/api/v1/pods/x", "get", `"resource":"pods","namespace":"$(id)","name":"a;b\r\n\u202e1"`, "", `kubectl get $'pods/a;b\x0d\x0a\xe2\x80\xae'$'1' -o yaml '--namespace=$(id)'`},
		{"/api/v1/pods", "list", `"resource":"pods"`, `,"impersonatedUser":{"username":"bob 'x","groups":["system:authenticated","ops"]}`, `kubectl get pods -A '--as=bob '\''x' --as-group=ops`},
	} {
		uri, _ := json.Marshal(c.uri)
		e := decoded(t, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"1","stage":"ResponseComplete","requestURI":`+string(uri)+`,"verb":"`+c.verb+`","user":{"username":"u"},"objectRef":{`+c.object+`},"requestReceivedTimestamp":"2026-11-22T19:50:10.000000Z","stageTimestamp":"2026-11-22T19:50:10.100000Z"`+c.more+`}`)
		if got := kubectlCommand(&e); got != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.verb, c.uri, got, c.want)
		}
	}
}

// TestKubectlWords has a real shell read the words of hostile events.
func TestKubectlWords(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	words := []string{"plain", "it's", "$(id)", "`id`", "a\nb", "\x1b[31mred", "\u202etxt.exe1", "\\", `"`, "*", "~", "é", "!x", "\x01f", "#x", "a b"}
	out, err := exec.CommandContext(t.Context(), bash, "-c", `printf '%s\0'`+shellWords(words)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSuffix(string(out), "\x00"); got != strings.Join(words, "\x00") {
		t.Errorf("the shell read %q", got)
	}
	if strings.ContainsAny(shellWords(words), "\n\x1b\u202e\x01") {
		t.Error("a control character reaches the terminal")
	}
}

func FuzzKubectlCommand(f *testing.F) {
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, line string) {
		var e audit.Event
		if audit.Decode([]byte(line), &e) != nil {
			return
		}
		for _, r := range kubectlCommand(&e) {
			if r != '\n' && (r < ' ' || r == 0x7f || r == '\u202e') {
				t.Fatalf("%q", kubectlCommand(&e))
			}
		}
	})
}

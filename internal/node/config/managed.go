package config

import (
	"net/url"
	"strings"
)

// Provider is one whose control plane nobody else can configure.
type Provider string

// The providers.
const (
	EKS Provider = "eks"
	GKE Provider = "gke"
	AKS Provider = "aks"
)

// Providers are all of them.
func Providers() []Provider { return []Provider{EKS, GKE, AKS} }

// Managed tells by an API server's URL and version, and by what a kubeconfig calls
// the cluster, whose control plane it is. Each may be "".
func Managed(server, version, cluster string) (Provider, bool) {
	host := server
	if u, err := url.Parse(server); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	switch {
	case strings.HasSuffix(host, ".eks.amazonaws.com") || strings.HasSuffix(host, ".eks.amazonaws.com.cn") || strings.Contains(version, "-eks-") || strings.HasPrefix(cluster, "arn:aws:eks:"):
		return EKS, true
	case strings.HasSuffix(host, ".gke.goog") || strings.Contains(version, "-gke.") || strings.HasPrefix(cluster, "gke_"):
		return GKE, true
	case strings.HasSuffix(host, ".azmk8s.io"):
		return AKS, true
	}
	return "", false
}

// Name is what people call it.
func (p Provider) Name() string {
	return map[Provider]string{EKS: "Amazon EKS", GKE: "Google GKE", AKS: "Azure AKS"}[p]
}

// Offer says what a provider offers in place of flags, and its limits: comments
// and commands for a shell.
func (p Provider) Offer() string {
	return map[Provider]string{EKS: offerEKS, GKE: offerGKE, AKS: offerAKS}[p]
}

const offerEKS = `# Amazon EKS: its API servers are Amazon's. No flag and no policy can be set.
#
# What it offers: the audit log goes to CloudWatch Logs, once it is asked for.
aws eks update-cluster-config --region REGION --name CLUSTER \
  --logging '{"clusterLogging":[{"types":["audit"],"enabled":true}]}'
aws logs put-retention-policy --region REGION \
  --log-group-name /aws/eks/CLUSTER/cluster --retention-in-days 90
#
# Its limits:
# - The policy is Amazon's, and fixed; what it leaves out cannot be had.
# - Delivery is best effort, usually within minutes.
# - The log group keeps events for ever until a retention is set.
# - CloudWatch bills every GB taken in, and what is kept.
#
# Into ktrail: the messages are events as the API server writes them. ktrail
# does not read CloudWatch's envelope, so take it off first:
aws logs filter-log-events --region REGION --output json \
  --log-group-name /aws/eks/CLUSTER/cluster \
  --log-stream-name-prefix kube-apiserver-audit |
  jq -r '.events[].message' | ktrail import -
`

const offerGKE = `# Google GKE: its API servers are Google's. No flag and no policy can be set.
#
# What it offers: Cloud Audit Logs.
# - Admin Activity (writes) is always on, free, and kept for 400 days.
# - Data Access (reads, and writes of some kinds of objects) is off until the
#   project's IAM policy turns it on. Get it, add under auditConfigs, set it:
gcloud projects get-iam-policy PROJECT > policy.yaml
#   auditConfigs:
#   - service: container.googleapis.com
#     auditLogConfigs:
#     - logType: ADMIN_READ
#     - logType: DATA_READ
#     - logType: DATA_WRITE
gcloud projects set-iam-policy PROJECT policy.yaml
gcloud logging read 'resource.type="k8s_cluster"
  log_id("cloudaudit.googleapis.com/activity")' --project PROJECT --limit 10
#
# Its limits:
# - The policy is Google's, and fixed; it decides which bodies are recorded.
# - Entries arrive after seconds to minutes.
# - Data Access is billed by the GB, and kept for 30 days unless a bucket or a
#   sink keeps it longer.
# - An entry is Google's AuditLog (protoPayload), not a Kubernetes audit event.
#
# Into ktrail: not yet. ktrail import reads Kubernetes' own events, and Google's
# entries lack what would be needed to make them: stage, level, audit ID.
`

const offerAKS = `# Azure AKS: its API servers are Azure's. No flag and no policy can be set.
#
# What it offers: resource logs, which a diagnostic setting sends to Log
# Analytics, a storage account or an event hub. kube-audit has all events,
# kube-audit-admin leaves out get and list, and is much smaller. Take one.
az monitor diagnostic-settings create --name audit \
  --resource "$(az aks show -g GROUP -n CLUSTER --query id --output tsv)" \
  --storage-account ACCOUNT_ID \
  --logs '[{"category":"kube-audit","enabled":true}]'
#
# Its limits:
# - The policy is Azure's, and fixed; what it leaves out cannot be had.
# - Entries arrive after minutes.
# - Log Analytics bills every GB taken in: kube-audit is often most of the bill.
# - How long they are kept is the workspace's or the storage account's setting.
#
# Into ktrail: properties.log of each record is an event as the API server
# writes it. ktrail does not read Azure's envelope, so take it off first, for
# each file of the container insights-logs-kube-audit:
jq -r '.properties.log' PT1H.json | ktrail import -
`

// Package platforms holds what ktrail enable --print gives against the types of
// those who take it: kubeadm, Cluster API and kind, decoded strictly.
package platforms

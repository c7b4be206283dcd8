package flags

// The places that ktrail gives the policy and the log.
const (
	DefaultPolicyFile = "/etc/kubernetes/audit/policy.yaml"
	DefaultLogPath    = "/var/log/kubernetes/audit/audit.log"
)

// Choice is a flag with the reason for its value.
type Choice struct {
	Arg
	Reason string
}

// Recommended is what an API server of version v is best given where nothing
// else is known: a log that no request passes unwritten and that cannot fill the
// disk by itself.
func Recommended(v Version) []Choice {
	choices := []Choice{
		{Arg{Name: PolicyFile, Value: DefaultPolicyFile}, "without a policy nothing is recorded, and the API server does not say so"},
		{Arg{Name: LogPath, Value: DefaultLogPath}, "a directory of its own, mounted as a directory: rotation renames the file in it"},
		{Arg{Name: LogMaxAge, Value: "30"}, "30 days, as CIS Kubernetes Benchmark 1.2 and the DISA STIG ask"},
		{Arg{Name: LogMaxBackup, Value: "10"}, "10 rotated files, as CIS asks: with maxsize 100 at most 1.2 GB of disk"},
		{Arg{Name: LogMaxSize, Value: "100"}, "rotate at 100 MB, as CIS asks; 0 stops rotation since 1.36"},
	}
	if !v.known().Before(hasCompress) {
		choices = append(choices, Choice{Arg{Name: LogCompress, Value: "true"}, "rotated files shrink to about a tenth"})
	}
	return append(choices, Choice{
		Arg{Name: LogPrefix + Mode, Value: Blocking},
		"each event is in the file before its request is answered; batch mode gains nothing with a file, drops events when its buffer is full and loses the buffer when the API server is killed",
	})
}

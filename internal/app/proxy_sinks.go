package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/ktrail/ktrail/audit/backend"
	"github.com/ktrail/ktrail/audit/flags"
	"github.com/ktrail/ktrail/audit/pipeline"
	"github.com/ktrail/ktrail/audit/webhook"
	"github.com/ktrail/ktrail/internal/durable"
)

// SinkOptions are what ktrail has beyond the API server's flags.
type SinkOptions struct {
	// Sync is when the log is synced: always, 1s or never.
	Sync string
	// SpoolDir is where events for the webhook wait while it is down, "" for nowhere, with at most SpoolBytes.
	SpoolDir   string
	SpoolBytes int64
	// Digest leaves a digest with so many bytes in the place of a body that truncation takes.
	Digest int
	// Plain leaves secrets in the bodies; RulesFile says what is taken out beside what always is, "" for nothing.
	Plain     bool
	RulesFile string
	// KeyFile holds the key of the hashes that take the place of secrets, and is made if it is
	// not there; "" is redact.key beside the log. Without a log the key lives as long as the proxy.
	KeyFile string
	// Out is what is written where the log is "-".
	Out io.Writer
}

// openSinks opens what the flags of auditing describe.
func openSinks(ctx context.Context, o *ProxyOptions) (*backend.Backend, error) {
	bo := backend.Options{
		Log: o.Logger, Sync: o.Sinks.Sync, Out: o.Sinks.Out, Digest: o.Sinks.Digest,
		SpoolDir: o.Sinks.SpoolDir, SpoolBytes: o.Sinks.SpoolBytes,
		Webhook: func(_ context.Context, w flags.Webhook) (pipeline.Sink, error) {
			return webhook.NewClient(webhook.ClientOptions{Kubeconfig: w.ConfigFile, InitialBackoff: w.Backoff, Log: o.Logger})
		},
	}
	if !o.Sinks.Plain {
		key, err := proxyKey(ctx, o)
		if err != nil {
			return nil, err
		}
		if bo.Redactor, err = pipeline.NewRedactor(key); err != nil {
			return nil, fmt.Errorf("use redaction key %s: %w", o.Sinks.KeyFile, err)
		}
		rules, err := ReadRedactRules(o.Sinks.RulesFile)
		if err != nil {
			return nil, err
		}
		if rules != nil {
			bo.Redactor = bo.Redactor.WithRules(rules)
		}
	}
	return backend.Open(ctx, o.Audit, bo)
}

// proxyKey is the key of the redactor.
func proxyKey(ctx context.Context, o *ProxyOptions) ([]byte, error) {
	file := o.Sinks.KeyFile
	if l := o.Audit.Log; file == "" && l.On() && l.Path != "-" {
		dir := filepath.Dir(l.Path)
		if err := (durable.OS{}).MkdirAll(dir); err != nil {
			return nil, fmt.Errorf("make directory of the audit log: %w", err)
		}
		file = filepath.Join(dir, keyFile)
	}
	if file == "" {
		key := make([]byte, keySize)
		_, err := rand.Read(key)
		return key, err
	}
	key, made, err := redactKeyAt(durable.OS{}, file)
	if made {
		o.Logger.LogAttrs(ctx, slog.LevelInfo, "made a key for what takes the place of secrets; whoever has it can try out short ones", slog.String("file", file))
	}
	return key, err
}

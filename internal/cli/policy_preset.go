package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/ktrail/ktrail/audit/policy"
	"github.com/ktrail/ktrail/internal/visible"
)

func (c *cmdline) policyPresetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "preset COMMAND",
		Short: "Start from a policy that ktrail brings along",
		Long: `Start from a policy that ktrail brings along. Each says in its comments what it is
for, what it leaves out and why. They mean the same from Kubernetes 1.24 on.

Wherever a policy command takes a FILE, preset:NAME is the preset of that name.`,
		Example: c.examples(
			`policy preset list`,
			`policy preset show recommended > policy.yaml`,
			`policy diff preset:recommended policy.yaml`,
		),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknown("command", args[0], commandNames(cmd), fmt.Sprintf("%s policy preset --help lists them", c.name))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.policyPresetListCommand(), c.policyPresetShowCommand())
	return cmd
}

// plainFlags are the flags of an answer without times.
func (o *output) plainFlags(cmd *cobra.Command, formats ...string) {
	o.formats = formats
	cmd.Flags().StringVarP(&o.format, "output", "o", formats[0], "output format: "+strings.Join(formats, ", "))
	cmd.Flags().BoolVar(&o.noColor, "no-color", false, "no colours, as with NO_COLOR set")
	complete(cmd, "output", formats)
}

func (c *cmdline) policyPresetListCommand() *cobra.Command {
	o := &output{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the presets with their purpose",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("list takes no argument: %s policy preset show %s shows one", c.name, visible.Line(args[0]))
			}
			if err := o.validate(); err != nil {
				return err
			}
			return c.presetList(o)
		},
	}
	o.plainFlags(cmd, formatText, formatJSON)
	return cmd
}

func (c *cmdline) presetList(o *output) error {
	p := c.page(o)
	for _, preset := range policy.Presets() {
		var err error
		if o.format == formatJSON {
			err = p.json(struct {
				Name    string `json:"name"`
				Purpose string `json:"purpose"`
			}{preset.Name, preset.Purpose})
		} else {
			const names = 13 // the longest name, and room
			err = p.line("%s%s", p.paint.paint(bold, fmt.Sprintf("%-*s", names, preset.Name)),
				visible.Wrap(preset.Purpose, p.width, names, strings.Repeat(" ", names)))
		}
		if err != nil {
			return err
		}
	}
	return p.flush()
}

func (c *cmdline) policyPresetShowCommand() *cobra.Command {
	o := &output{}
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Print a preset, ready to use",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one preset: %s", strings.Join(policy.PresetNames(), ", "))
			}
			preset, err := c.preset(args[0])
			if err != nil {
				return err
			}
			if err := o.validate(); err != nil {
				return err
			}
			text := preset.YAML
			if o.format == formatJSON {
				if text, err = presetJSON(text); err != nil {
					return err
				}
			}
			_, err = c.Out.Write(text)
			return err
		},
		ValidArgsFunction: cobra.FixedCompletions(policy.PresetNames(), cobra.ShellCompDirectiveNoFileComp),
	}
	o.plainFlags(cmd, formatYAML, formatJSON)
	return cmd
}

func (c *cmdline) preset(name string) (policy.Preset, error) {
	p, ok := policy.LookupPreset(name)
	if !ok {
		return p, unknown("preset", name, policy.PresetNames(), "it is one of "+strings.Join(policy.PresetNames(), ", "))
	}
	return p, nil
}

// presetJSON is a policy as JSON, which the API server takes too.
func presetJSON(text []byte) ([]byte, error) {
	text, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("encode preset: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return nil, fmt.Errorf("encode preset: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

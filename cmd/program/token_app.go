package program

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/channelkey"
)

func (p *program) tokenAppCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "app",
		Short:   "make projects: an App ID with its certificates",
		Example: "  chanseal token app create -o app.json",
		Args:    cobra.ArbitraryArgs,
		RunE:    needCommand,
	}
	c.AddCommand(p.tokenAppCreateCommand())
	return c
}

func (p *program) tokenAppCreateCommand() *cobra.Command {
	var (
		out    string
		force  bool
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "create -o FILE",
		Short: "make a random App ID and two certificates",
		Long: `Make a random App ID with a primary and a secondary certificate, in a file that only
its owner can read. Print the App ID.

The file is JSON: app_id, app_certificate, secondary_certificate. It is what
--app-certificate-file takes. Both certificates verify; the primary one mints.`,
		Example: `  chanseal token app create -o app.json
  chanseal token mint --app-certificate-file app.json --channel room-42 --uid 123`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return usagef(c, "%s: -o FILE is missing", c.CommandPath())
			}
			t, err := p.newTarget(out, force, &input{})
			if err != nil {
				return err
			}
			t.private = true
			o, err := p.create(t)
			if err != nil {
				return err
			}
			defer o.discard()
			app := channelkey.NewApp()
			file := app.MarshalFile()
			defer clear(file)
			if _, err := o.Write(file); err != nil {
				return o.error(err)
			}
			if err := o.commit(c.Context()); err != nil {
				return err
			}
			if t.stdout {
				return nil
			}
			p.notef("made %s: an App ID and two certificates, which are secrets", o.path)
			if asJSON {
				return writeJSON(p.stdout, struct {
					AppID string `json:"app_id"`
					File  string `json:"file"`
				}{app.ID, o.path})
			}
			_, err = fmt.Fprintln(p.stdout, app.ID)
			return err
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "write the app to `FILE` (required)")
	c.Flags().BoolVar(&force, "force", false, "overwrite FILE")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

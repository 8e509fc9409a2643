package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chanseal/chanseal/keyserver/audit"
)

func (p *program) auditCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "audit",
		GroupID: groupServices,
		Short:   "who had access: a key server's record",
		Long: `A key server's audit record is a file to which every entry, hand-out, rotation and
revocation is appended. Each line is bound to all lines before it by a hash, and
FILE.head holds the newest, so that a line that was altered or cut is found.

Persons and channels have opaque IDs. FILE.key, which is secret, tells which ID is
whose.`,
		Example: `  chanseal audit verify audit.log
  chanseal audit show --channel stage audit.log`,
		RunE: needCommand,
	}
	c.AddCommand(p.auditShow(), p.auditVerify())
	return c
}

func (p *program) auditVerify() *cobra.Command {
	var heads []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "check that nothing was altered or cut",
		Long: `Checks every line. It prints the head: note it where the server's administrators
cannot write, and give it back with --head later. Without that, who can write the
record and its head file could write both anew.`,
		Example: `  chanseal audit verify audit.log
  chanseal audit verify --head 1042:9f2b… audit.log`,
		Args: exactArgs("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			noted, err := parseHeads(c, heads)
			if err != nil {
				return err
			}
			res, err := audit.VerifyFile(args[0], nil, noted...)
			if err != nil {
				return auditError(args[0], err)
			}
			if res.Torn > 0 {
				p.notef("the last %s are of an entry that is not finished, and does not count", count(res.Torn, "byte"))
			}
			if asJSON {
				return writeJSON(p.stdout, struct {
					Entries uint64 `json:"entries"`
					Head    string `json:"head"`
					Torn    int64  `json:"torn_bytes"`
				}{res.Head.Seq, res.Head.String(), res.Torn})
			}
			fmt.Fprintf(p.stdout, "ok: %s\nhead: %s\n", count(res.Head.Seq, "line"), res.Head)
			return nil
		},
	}
	c.Flags().StringArrayVar(&heads, "head", nil, "the record must hold this `NUMBER:HASH`, noted earlier; may be repeated")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (p *program) auditShow() *cobra.Command {
	var channel, uid string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "print the entries",
		Long: `Prints the entries, each once it is checked, and ends with an error at the first line
that was altered or is missing. Choosing by a name takes the secret FILE.key.`,
		Example: `  chanseal audit show audit.log
  chanseal audit show --channel stage --uid 123 audit.log
  chanseal audit show --json audit.log               one object a line`,
		Args: exactArgs("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			var channelID, userID string
			var err error
			if channel != "" {
				if channelID, err = audit.FileID(args[0], "c", channel); err != nil {
					return err
				}
			}
			if uid != "" {
				if userID, err = audit.FileID(args[0], "u", uid); err != nil {
					return err
				}
			}
			lines := json.NewEncoder(p.stdout)
			_, err = audit.VerifyFile(args[0], func(e audit.Entry) error {
				if channelID != "" && e.Channel != channelID || userID != "" && e.Actor != userID && e.Subject != userID {
					return nil
				}
				if asJSON {
					return lines.Encode(e)
				}
				_, err := fmt.Fprintln(p.stdout, printable(auditLine(e)))
				return err
			})
			if err != nil {
				return auditError(args[0], err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&channel, "channel", "", "only of the channel `NAME`")
	c.Flags().StringVar(&uid, "uid", "", "only of the person with this `UID`")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

func parseHeads(c *cobra.Command, texts []string) (heads []audit.Head, err error) {
	for _, s := range texts {
		h, err := audit.ParseHead(s)
		if err != nil {
			return nil, usagef(c, "--head: %s", strings.TrimPrefix(err.Error(), "audit: "))
		}
		heads = append(heads, h)
	}
	return heads, nil
}

// auditLine is an entry for people to read.
func auditLine(e audit.Entry) string {
	parts := []string{fmt.Sprintf("%d", e.Seq), e.Time.Format(time.RFC3339), e.Event}
	for _, s := range []string{e.Actor, e.Channel, e.Subject} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if e.Epoch != 0 {
		parts = append(parts, fmt.Sprintf("epoch %d", e.Epoch))
	}
	if e.Outcome != "" {
		parts = append(parts, e.Outcome)
	}
	if e.Reason != "" {
		parts = append(parts, e.Reason)
	}
	return strings.Join(parts, "  ")
}

func auditError(path string, err error) error {
	if errors.Is(err, audit.ErrDamaged) {
		return &failure{err: &named{path, message(err), err}, code: exitAuth,
			hints: []string{"the lines before it are as they were written; keep the files as they are, and compare with a copy"}}
	}
	return err
}

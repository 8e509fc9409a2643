package program

import (
	"fmt"
	"github.com/chanseal/chanseal/cipher"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/cpu"
)

func (p *program) versionCommand() *cobra.Command {
	var withCPU, asJSON bool
	c := &cobra.Command{
		Use:     "version",
		GroupID: groupProgram,
		Short:   "print the version",
		Args:    exactArgs(),
		RunE: func(c *cobra.Command, args []string) error {
			v := newVersion(withCPU)
			if asJSON {
				return writeJSON(p.stdout, v)
			}
			fmt.Fprintf(p.stdout, "chanseal %s %s %s\n", v.Version, v.Platform, v.Go)
			if withCPU {
				fmt.Fprintf(p.stdout, "cpu %s\nengine %s\n", strings.Join(v.CPU, " "), v.Engine)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&withCPU, "cpu", false, "also what the CPU has that speeds up ciphers, and the AES engine in use")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

type versionJSON struct {
	Version  string   `json:"version"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	CPU      []string `json:"cpu,omitempty"`
	Engine   string   `json:"engine,omitempty"`
}

func newVersion(withCPU bool) versionJSON {
	v := versionJSON{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	if withCPU {
		v.CPU, v.Engine = cpuFeatures(), cipher.Engine()
	}
	return v
}

// cpuFeatures lists what the CPU has of what ciphers use.
func cpuFeatures() []string {
	features := []struct {
		name string
		has  bool
	}{
		{"aes", cpu.X86.HasAES || cpu.ARM64.HasAES},
		{"pclmulqdq", cpu.X86.HasPCLMULQDQ},
		{"pmull", cpu.ARM64.HasPMULL},
		{"avx2", cpu.X86.HasAVX2},
		{"avx512f", cpu.X86.HasAVX512F},
		{"avx512vbmi", cpu.X86.HasAVX512VBMI},
		{"vaes", cpu.X86.HasAVX512VAES},
		{"vpclmulqdq", cpu.X86.HasAVX512VPCLMULQDQ},
		{"sha2", cpu.ARM64.HasSHA2},
		{"sha512", cpu.ARM64.HasSHA512},
	}
	names := []string{}
	for _, f := range features {
		if f.has {
			names = append(names, f.name)
		}
	}
	if len(names) == 0 {
		names = append(names, "nothing known")
	}
	return names
}

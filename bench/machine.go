package bench

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/chanseal/chanseal/cipher"
	"golang.org/x/sys/cpu"
)

// Machine says what was measured on, and with which program.
type Machine struct {
	CPU        string   `json:"cpu"`
	Cores      int      `json:"cores"`
	GOMAXPROCS int      `json:"gomaxprocs"` // of all rows but those on several cores
	Features   []string `json:"features"`   // what of the CPU the ciphers use
	Tier       string   `json:"tier"`       // the AES engine of our suites: see cipher.Engine
	OS         string   `json:"os"`
	Arch       string   `json:"arch"`
	Kernel     string   `json:"kernel,omitempty"`
	Go         string   `json:"go"`
	Version    string   `json:"version"`  // of this module
	Revision   string   `json:"revision"` // of its source; "unknown" where the build does not say
	Modified   bool     `json:"modified"` // the source had changes beyond the revision
	GODEBUG    string   `json:"godebug,omitempty"`
	ClockNS    float64  `json:"clock_ns"` // a reading of the clock
}

func thisMachine() Machine {
	m := Machine{
		CPU: cpuName(), Cores: runtime.NumCPU(), GOMAXPROCS: 1, Features: features(), Tier: cipher.Engine(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Go: runtime.Version(), Version: "unknown", Revision: "unknown", Kernel: firstLine("/proc/sys/kernel/osrelease"),
		GODEBUG: os.Getenv("GODEBUG"), ClockNS: float64(clockCost().Nanoseconds()),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		const module = "github.com/chanseal/chanseal"
		if info.Main.Path == module && info.Main.Version != "" {
			m.Version = info.Main.Version
		}
		for _, d := range info.Deps {
			if d.Path == module {
				m.Version = d.Version
			}
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				m.Revision = s.Value
			case "vcs.modified":
				m.Modified = s.Value == "true"
			}
		}
	}
	return m
}

func features() []string {
	names := []string{}
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"aes", cpu.X86.HasAES || cpu.ARM64.HasAES}, {"pclmulqdq", cpu.X86.HasPCLMULQDQ}, {"pmull", cpu.ARM64.HasPMULL},
		{"avx2", cpu.X86.HasAVX2}, {"avx512f", cpu.X86.HasAVX512F}, {"avx512vbmi", cpu.X86.HasAVX512VBMI},
		{"vaes", cpu.X86.HasAVX512VAES}, {"vpclmulqdq", cpu.X86.HasAVX512VPCLMULQDQ}, {"sha2", cpu.ARM64.HasSHA2}, {"sha512", cpu.ARM64.HasSHA512},
	} {
		if f.has {
			names = append(names, f.name)
		}
	}
	return names
}

// cpuName is the CPU's own, where the system tells it.
func cpuName() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(data)) {
			key, value, ok := strings.Cut(line, ":")
			if ok && (strings.TrimSpace(key) == "model name" || strings.TrimSpace(key) == "Model") {
				return strings.TrimSpace(value)
			}
		}
	}
	if name := os.Getenv("PROCESSOR_IDENTIFIER"); name != "" {
		return name
	}
	return runtime.GOARCH
}

func firstLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

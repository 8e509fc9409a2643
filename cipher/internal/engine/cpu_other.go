//go:build !amd64 || purego

package engine

func cpuTier() tier { return generic }

func cpuSHA() bool { return false }

func cpuAMD() bool { return false }

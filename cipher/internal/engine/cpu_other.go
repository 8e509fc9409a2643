//go:build !amd64 || purego

package engine

func cpuTier() tier { return generic }

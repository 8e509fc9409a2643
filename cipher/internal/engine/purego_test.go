//go:build purego

package engine

const pureGo = true

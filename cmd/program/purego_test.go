//go:build purego

package program

const purego = true

// Package ciphertest examines ciphers: the built-in ones of package cipher, and those
// that an application plugs into it or puts beside it.
//
//   - [RunVectors] runs a file of SFrame test vectors. It needs no test to run in.
package ciphertest

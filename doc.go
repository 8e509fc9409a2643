// Package chanseal holds nothing but an example: the work is done by the packages
// below it.
//
//   - cipher seals and opens single frames (SFrame, RFC 9605)
//   - keyring keeps the secrets of channels, and hands out what seals and opens
//   - media and sealedfile do the same with whole recordings
//   - cmd/chanseal is the program
package chanseal

// Package onecall makes one call through everything: a project with its certificates, a
// business server that issues cards, the key server, gateways, the cloud proxy behind a
// firewall, a media network, and a recorder; and looks at the end whether anything was
// told to anybody. The test of the whole system and the last act of "chanseal demo" are
// this package.
//
// Nothing here knows how a part works. All parts are commands of the program, with the
// arguments that an operator gives them: those that hold keys run in this process, the
// cloud proxy and the recorder in processes of their own, whose memory is searched.
//
//	sender ─RTP→ gateway seal ─┤wall├→ cloud proxy → media network ┬→ gateway open ─RTP→ receiver
//	                                                               └→ gateway record → file
//
// The wall is the company's firewall: a packet filter, round the sender's sockets, that
// lets out what stands in "proxy allowlist" and nothing else.
package onecall

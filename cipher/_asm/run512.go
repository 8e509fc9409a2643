package main

// AES-GCM of a run of short frames under one key, as package cipher has them: headers,
// nonces and additional data are put together here, in registers, since in Go that costs
// as much as the encryption. It is short512.go's pipeline, a pair of frames encrypted
// while the pair before is hashed, with less to do for a frame: the round keys are those of
// both, the middle halves of powers come from the key's table, and of the vectors of a
// text only the last one is masked.
//
// What bounds it: on Granite Rapids (measured) one VAESENC a cycle, on one of the two ports that
// have 512 bits, and on the other CLMUL and all shuffles. Two frames of 96 bytes have 40
// of the former, 52 of the latter and 32 that take either: 62 cycles. What comes from
// general registers into a vector or a mask counts among the shuffles, so counters come
// by a broadcast from memory, and the length block is the frame's length under a mask. On Zen 5 a
// CLMUL is three of the four vector instructions of a cycle, besides two cycles of its unit: with it
// a pair has 162 of them, and takes 62 to 65 cycles, in whatever order they stand.
//
// Seal looks at its frames itself, takes their counters, and lengthens each Dst: a call less, with some 25
// cycles for passing arguments and results, and no second walk over the frames; eight frames of 96 bytes take
// 375 cycles in SealBatch where they took 444.
//
// A counter makes header and nonce by one shuffle each: its byte k belongs at byte HeadLen-1-k
// of the header and at 11-k of the nonce. Where no byte of it belongs the shuffle writes 0 or
// takes one that is 0: Seal has eight of those behind the counter.
//
// Registers: R13 R12 frames A and B, R8 A's counter, AX key, R9 HeadLen, DX R11 powers; BX R10 powers of the
// pair before, tagA tagB on the stack where its tags go (Seal); CX SI DI R14 scratch. K1 K2
// masks of A and B, K3 K4 the length block's halves, K5 the header's bytes (Open), K6 low halves of lanes (Seal) or the bits in which tags differed (Open), K7 AAD.
// Z31 byte swap; of the pair before: Z30 AAD blocks, Z29 their powers, Z28 E(J0)
// in lanes 0 and 2 (for Open XOR the tags received, and byte-swapped), from Z16 on A's ciphertext and
// then B's, byte-swapped; up to two vectors: Z26 the middles of Z29, Z27 reduction, Z25 nonce shuffle, Z23 Z24
// first blocks without a counter; the rest by assign.
//
// Constant time and exit as in gcm512.go: runLook branches on addresses, lengths and counters. The first blocks on
// the stack are cleared, too.

// Offsets in GCMRun and RunFrame; the engine asserts them.
const (
	runKey     = 0
	runVectors = 8
	runHeadLen = 16
	runHead    = 24
	runSalt    = 40
	runCtr     = 56

	rfDst  = 0
	rfDstN = 8
	rfSrc  = 24
	rfN    = 32
	rfAAD  = 48
	rfAADN = 56
	rfSize = 88
)

const (
	midsFrom    = offMids - offPow
	runHeadMost = 32 // the engine's
)

func runFile() []string {
	var down []byte
	for j := range 16 {
		down = append(down, byte(-j))
	}
	o := cat(data("bswap", 0x08090a0b0c0d0e0f, 0x0001020304050607), shortData(),
		data("reduce", 1, 0xc200000000000000, 1, 0xc200000000000000, 1, 0xc200000000000000, 1, 0xc200000000000000),
		bytesData("nonceBytes", nonceBytes(64)), bytesData("downFrom0", down))
	for _, nr := range []int{10, 14} {
		o = append(o, run(nr, true)...)
		o = append(o, run(nr, false)...)
	}
	return o
}

// nonceBytes is the shuffle that brings a counter to the last eight bytes of a nonce, big endian.
func nonceBytes(n int) []byte {
	var o []byte
	for j := range n {
		if j%16 < 4 {
			o = append(o, 0x80)
		} else {
			o = append(o, byte(11-j%16))
		}
	}
	return o
}

// runRegs are the registers that a number of vectors leaves to assign.
func runRegs(v int) []int {
	var pool []int
	for z := range 32 {
		switch {
		case z >= 16 && z < 16+2*v, z >= 28, v <= 2 && z >= 23:
		default:
			pool = append(pool, z)
		}
	}
	return pool
}

// runConst is an operand that lies in a register if there are few vectors.
func runConst(v, z int, mem string) string {
	if v <= 2 {
		return f("Z%d", z)
	}
	return mem
}

func run(nr int, seal bool) []string {
	name := map[bool]string{true: "sealRun", false: "openRun"}[seal] + f("%dAVX512", bits(nr))
	doc := f(`func %s(r *GCMRun, frames *RunFrame, count int, next *atomic.Uint64) (sealed, errs bool)
		AES-%d-GCM: Seal of count > 0 frames, header, text and tag, to the room behind each Dst, which is
		lengthened. None is sealed if they are not all such as this kernel takes, or next, if not nil, is not the
		first counter; else next goes up by count. errs says whether an Err is not nil.`, name, bits(nr))
	args := 34
	if !seal {
		doc = f(`func %s(r *GCMRun, frames *RunFrame, count int) (ok bool)
			AES-%d-GCM: Open of count > 0 frames to the room behind each Dst. ok says whether all tags were
			right; if not, the caller must clear what was written.`, name, bits(nr))
		args = 25
	}
	o := text(doc, name, 128+64*shortVectors, args)
	if seal {
		o = append(o, runLook()...)
	}
	o = append(o, "MOVQ r+0(FP), R14", f("MOVQ %d(R14), AX", runKey), "MOVQ frames+8(FP), R13", "MOVQ count+16(FP), CX", "DECQ CX", f("IMULQ $%d, CX", rfSize),
		"ADDQ R13, CX", "MOVQ CX, last-8(SP)", f("LEAQ %d(R13), R12", rfSize), "CMPQ R12, CX", "CMOVQHI CX, R12", f("MOVQ %d(R14), R9", runHeadLen), f("LEAQ %d(R14), R8", runCtr),
		"VBROADCASTI32X4 bswap<>(SB), Z31", "MOVL $0x40, CX", "KMOVB CX, K3", "MOVL $0x80, CX", "KMOVB CX, K4",
		f("VMOVQ %d(R14), X0", runSalt), f("VPINSRQ $1, %d(R14), X0, X0", runSalt+8), "VPXOR (AX), X0, X0", "VSHUFI64X2 $0, Z0, Z0, Z0")
	if seal {
		o = append(o, "MOVL $0x55, CX", "KMOVB CX, K6", "LEAQ -1(R9), CX", "VPBROADCASTB CX, X1", "VPADDB downFrom0<>(SB), X1, X1", "VMOVDQU X1, shuffle-64(SP)",
			f("VMOVQ %d(R14), X1", runHead), f("VPINSRQ $1, %d(R14), X1, X1", runHead+8), "VMOVDQU X1, head-48(SP)", "CMPQ R11, $64", "JEQ first2", "JHI first3")
	} else {
		o = append(o, "MOVL $-1, CX", "BZHIL R9, CX, CX", "KMOVW CX, K5", "KXORB K6, K6, K6", f("MOVQ %d(R14), CX", runVectors))
		for v := 2; v <= shortVectors; v++ {
			o = append(o, f("CMPQ CX, $%d", v), f("JEQ first%d", v))
		}
	}
	for v := 1; v <= shortVectors; v++ {
		pool := runRegs(v)
		next := []string{f("ADDQ $%d, R13", 2*rfSize), f("LEAQ %d(R13), R12", rfSize), "CMPQ R12, last-8(SP)", "CMOVQHI last-8(SP), R12", "ADDQ $16, R8", "CMPQ R13, last-8(SP)"}
		o = append(o, f("first%d:", v))
		for j := range v {
			if v <= 2 {
				o = append(o, f("VPXORQ %s, Z0, Z%d", shortCounter(v, j), 24-j))
			} else {
				o = append(o, f("VPXORQ %s, Z0, Z1", shortCounter(v, j)), f("VMOVDQU64 Z1, %s", runBlock(j)))
			}
		}
		if v <= 2 {
			o = append(o, "VMOVDQU64 reduce<>(SB), Z27", "VMOVDQU64 nonceBytes<>(SB), Z25")
		}
		o = append(o, assign(cat(runAES(nr, v, seal), runText(nr, v, seal)), pool)...)
		o = append(o, next...)
		o = append(o, f("JHI tail%d", v), f("pair%d:", v))
		o = append(o, assign(cat(merge(runAES(nr, v, seal), runHash(v, seal)), runText(nr, v, seal)), pool)...)
		o = append(o, next...)
		o = append(o, f("JLS pair%d", v), f("tail%d:", v))
		o = append(o, assign(runHash(v, seal), pool)...)
		if v < shortVectors {
			o = append(o, "JMP done")
		} else {
			o = append(o, "VPXORQ Z0, Z0, Z0")
			for j := range v {
				o = append(o, f("VMOVDQU64 Z0, %s", runBlock(j)))
			}
		}
	}
	o = append(o, "done:")
	if seal {
		o = append(o, "MOVB $1, sealed+32(FP)")
	} else {
		o = append(o, "KMOVB K6, CX", "TESTB $0x33, CX", "SETEQ ok+24(FP)")
	}
	o = append(o, wipe()...)
	o = append(o, "RET")
	if seal {
		o = append(o, "no:", "MOVB $0, sealed+32(FP)", "MOVB $0, errs+33(FP)", "RET")
	}
	return append(o, "")
}

// runLook looks at the frames before anything is written: each must keep apart from all others and itself, as
// shape.go's, with at most runHeadMost bytes in front of the text, and all texts must take as many vectors,
// of which R11 is left with 64 bytes for each but the last.
//
// Registers as there, but for: R11 least bytes of a text, R12 most AAD.
func runLook() []string {
	o := []string{"MOVQ r+0(FP), R14", f("MOVQ %d(R14), R9", runHeadLen), f("MOVL $%d, R12", runHeadMost), "SUBQ R9, R12", "ADDQ $16, R9", "MOVQ frames+8(FP), R13", "MOVQ count+16(FP), CX",
		f("MOVQ %d(R13), R11", rfN), "ADDQ $15, R11", "ANDQ $-64, R11", f("CMPQ R11, $%d", 64*(shortVectors-1)), "JHI no"}
	o = append(o, shapeRooms()...)
	o = append(o, "look:")
	o = append(o, shapeFrame()...)
	return append(o, "CMPQ DI, R12", "JHI no", "SUBQ R11, BX", "CMPQ BX, $48", "JHI no",
		f("ADDQ $%d, R13", rfSize), "DECQ CX", "JNZ look", "TESTQ AX, AX", "SETNE errs+33(FP)",
		// The locked instruction comes last: behind it nothing is read before all that came before is
		// done, the end of the run before this one, too.
		"MOVQ next+24(FP), BX", "TESTQ BX, BX", "JEQ taken", "MOVQ r+0(FP), R14", f("MOVQ %d(R14), AX", runCtr), "MOVQ count+16(FP), CX", "ADDQ AX, CX", "LOCK; CMPXCHGQ CX, (BX)", "JNE no", "taken:")
}

// runBlock is where the first block of vector j lies without a counter if there are many vectors.
func runBlock(j int) string { return f("block-%d(SP)", 128+64*(j+1)) }

// runAES sets a pair up and encrypts its counters but for the last round. In Seal it
// writes the headers.
func runAES(nr, v int, seal bool) []string {
	zero := map[bool]string{true: ".Z", false: ""}[seal]
	low := map[bool]string{true: "K6, ", false: ""}[seal]
	o := []string{f("VPBROADCASTQ%s (R8), %s{ctrA}", zero, low),
		"LEAQ 8(R8), R14; CMPQ R12, R13; CMOVQEQ R8, R14", f("VPBROADCASTQ%s (R14), %s{ctrB}", zero, low)}
	for i, h := range halves(v) {
		n := h.name
		o = append(o, f("MOVQ %d(%s), CX", rfN, h.frame))
		if !seal {
			o = append(o, "SUBQ R9, CX", "SUBQ $16, CX")
		}
		o = append(o, f("LEAQ -%d(CX), SI", 64*(v-1)), "MOVQ $-1, R14", "BZHIQ SI, R14, R14", f("KMOVQ R14, K%d", 1+i),
			f("LEAQ 15(CX), %s", h.pow), f("ANDQ $-16, %s", h.pow), f("NEGQ %s", h.pow), f("LEAQ %d(AX)(%s*1), %s", offH1, h.pow, h.pow),
			"SHLQ $3, CX", "BSWAPQ CX")
		if seal {
			o = append(o, f("VPSHUFB shuffle-64(SP), {X:ctr%s}, {X:aad%s}", n, n), f("VPORQ head-48(SP), {X:aad%s}, {X:aad%s}", n, n),
				f("MOVQ %d(%s), DI", rfDst, h.frame), f("ADDQ %d(%s), DI", rfDstN, h.frame), f("VMOVDQU64 {X:aad%s}, (DI)", n))
		} else {
			o = append(o, f("MOVQ %d(%s), DI", rfSrc, h.frame), f("VMOVDQU8.Z (DI), K5, {X:aad%s}", n))
		}
		o = append(o, f("MOVQ %d(%s), SI", rfAADN, h.frame), f("MOVQ %d(%s), R14", rfAAD, h.frame),
			f("TESTQ SI, SI; CMOVQEQ %s, R14", h.frame), "SUBQ R9, R14", // of no AAD the address may be nil
			"MOVQ $-1, DI", "BZHIQ SI, DI, DI", "SHLXQ R9, DI, DI", "KMOVD DI, K7", f("VMOVDQU8 (R14), K7, {Y:aad%s}", n),
			"ADDQ R9, SI", "LEAQ (SI*8), DI", "BSWAPQ DI", f("VPBROADCASTQ.Z DI, K3, {len%s}", n), f("VPBROADCASTQ CX, K4, {len%s}", n),
			"ADDQ $15, SI", "ANDQ $-16, SI", "NEGQ SI")
		if i == 0 {
			o = append(o, f("VMOVDQU64 (%s)(SI*1), {Y:apow}", h.pow))
			if v <= 2 {
				o = append(o, f("VMOVDQU64 %d(%s)(SI*1), {Y:amid}", midsFrom, h.pow))
			}
		} else {
			o = append(o, f("VINSERTI64X4 $1, (%s)(SI*1), {apow}, {apow}", h.pow))
			if v <= 2 {
				o = append(o, f("VINSERTI64X4 $1, %d(%s)(SI*1), {amid}, {amid}", midsFrom, h.pow))
			}
			o = append(o, "VINSERTI64X4 $1, {Y:aadB}, {aadA}, {aadA}", "VPSHUFB Z31, {aadA}, {aadA}")
		}
		o = append(o, f("VPSHUFB %s, {ctr%s}, {ctr%s}", runConst(v, 25, "nonceBytes<>(SB)"), n, n))
		for j := range v {
			o = append(o, f("VPXORQ %s, {ctr%s}, {%s%d}", runConst(v, 24-j, runBlock(j)), n, n, j))
		}
	}
	for r := 1; r < nr; r++ {
		o = append(o, f("VBROADCASTI32X4 %d(AX), {key%d}", 16*r, r))
		for j := range v {
			for _, h := range halves(v) {
				o = append(o, f("VAESENC {key%d}, {%s%d}, {%s%d}", r, h.name, j, h.name, j))
			}
		}
	}
	return o
}

// runText encrypts the text of a pair and makes it the pair before.
func runText(nr, v int, seal bool) []string {
	var o []string
	address := map[string][2]string{"A": {"SI", "DI"}, "B": {"CX", "R14"}}
	for _, h := range halves(v) {
		src, dst := address[h.name][0], address[h.name][1]
		o = append(o, f("MOVQ %d(%s), %s", rfSrc, h.frame, src), f("MOVQ %d(%s), %s", rfDst, h.frame, dst), f("ADDQ %d(%s), %s", rfDstN, h.frame, dst))
		if seal {
			o = append(o, f("ADDQ R9, %s", dst))
		} else {
			o = append(o, f("ADDQ R9, %s", src))
		}
	}
	o = append(o, f("VBROADCASTI32X4 %d(AX), {keylast}", 16*nr))
	// All of a pair's loads stand before its stores, in case it is one frame.
	for j := range v {
		for i, h := range halves(v) {
			n, src := h.name, address[h.name][0]
			t := f("{text%s%d}", n, j)
			switch {
			case j < v-1 && seal:
				o = append(o, f("VPXORQ %d(%s), {keylast}, %s", 64*j, src, t))
			case j < v-1:
				o = append(o, f("VMOVDQU64 %d(%s), %s", 64*j, src, t), f("VPSHUFB Z31, %s, Z%d", t, h.ct+j), f("VPXORQ {keylast}, %s, %s", t, t))
			case seal:
				o = append(o, f("VMOVDQU8.Z %d(%s), K%d, %s", 64*j, src, 1+i, t), f("VPXORQ {keylast}, %s, %s", t, t))
			default:
				o = append(o, f("VMOVDQU8.Z %d(%s), K%d, %s", 64*j, src, 1+i, t), f("VMOVDQU8 %s, K%d, {len%s}", t, 1+i, n),
					f("VPSHUFB Z31, {len%s}, Z%d", n, h.ct+j), f("VPXORQ {keylast}, %s, %s", t, t))
			}
			o = append(o, f("VAESENCLAST %s, {%s%d}, {%s%d}", t, n, j, n, j))
		}
	}
	if !seal { // the tags
		o = append(o, f("MOVQ %d(R13), BX", rfN), "SUBQ R9, BX", "VMOVDQU64 -16(SI)(BX*1), {X:tags}", f("MOVQ %d(R12), BX", rfN), "SUBQ R9, BX", "VINSERTI64X2 $2, -16(CX)(BX*1), {tags}, {tags}")
	}
	for j := range v {
		for i, h := range halves(v) {
			n, dst := h.name, address[h.name][1]
			if j < v-1 {
				o = append(o, f("VMOVDQU64 {%s%d}, %d(%s)", n, j, 64*j, dst))
				if seal {
					o = append(o, f("VPSHUFB Z31, {%s%d}, Z%d", n, j, h.ct+j))
				}
				continue
			}
			o = append(o, f("VMOVDQU8 {%s%d}, K%d, %d(%s)", n, j, 1+i, 64*j, dst))
			if seal {
				o = append(o, f("VMOVDQU8 {%s%d}, K%d, {len%s}", n, j, 1+i, n), f("VPSHUFB Z31, {len%s}, Z%d", n, h.ct+j))
			}
		}
	}
	o = append(o, f("VSHUFI64X2 $0xff, {B%d}, {A%d}, Z28", v-1, v-1))
	if seal {
		o = append(o, f("ADDQ %d(R13), DI", rfN), "MOVQ DI, tagA-16(SP)", f("ADDQ %d(R12), R14", rfN), "MOVQ R14, tagB-24(SP)",
			"ADDQ $16, DI", f("SUBQ %d(R13), DI", rfDst), f("MOVQ DI, %d(R13)", rfDstN), "ADDQ $16, R14", f("SUBQ %d(R12), R14", rfDst), f("MOVQ R14, %d(R12)", rfDstN))
	} else {
		o = append(o, "VPXORQ {tags}, Z28, Z28", "VPSHUFB Z31, Z28, Z28")
	}
	if v <= 2 {
		o = append(o, "VMOVDQA64 {amid}, Z26")
	}
	return append(o, "VMOVDQA64 {aadA}, Z30", "VMOVDQA64 {apow}, Z29", "MOVQ DX, BX", "MOVQ R11, R10")
}

// runHash finishes the pair before.
func runHash(v int, seal bool) []string {
	var o []string
	pow := map[string]string{"A": "BX", "B": "R10"}
	for _, h := range halves(v) {
		n := h.name
		for j := range v {
			c, x := f("Z%d", h.ct+j), f("{x%s%d}", n, j)
			p, m := f("%d(%s)", 64*j, pow[n]), f("%d(%s)", 64*j+midsFrom, pow[n])
			if j == v-1 { // the length block's
				o = append(o, f("VMOVDQU64 %s, {p%s}", p, n), f("VINSERTI64X2 $3, %d(AX), {p%s}, {p%s}", offH1, n, n),
					f("VMOVDQU64 %s, {m%s}", m, n), f("VINSERTI64X2 $3, %d(AX), {m%s}, {m%s}", offH1+midsFrom, n, n))
				p, m = f("{p%s}", n), f("{m%s}", n)
			}
			o = append(o, f("VPSHUFD $0x4e, %s, %s", c, x), f("VPXORQ %s, %s, %s", c, x, x))
			for _, q := range []struct{ sum, imm, pow, ct string }{{"lo", "00", p, c}, {"hi", "11", p, c}, {"mid", "00", m, x}} {
				sum := f("{%s%s}", q.sum, n)
				if j == 0 {
					o = append(o, f("VPCLMULQDQ $0x%s, %s, %s, %s", q.imm, q.pow, q.ct, sum))
					continue
				}
				product := f("{%s%s%d}", q.sum, n, j)
				o = append(o, f("VPCLMULQDQ $0x%s, %s, %s, %s", q.imm, q.pow, q.ct, product), f("VPXORQ %s, %s, %s", product, sum, sum))
			}
		}
	}
	amid := "Z26"
	if v > 2 {
		o, amid = append(o, "VPSHUFD $0x4e, Z29, {am}", "VPXORQ Z29, {am}, {am}"), "{am}"
	}
	o = append(o, "VPSHUFD $0x4e, Z30, {ax}", "VPXORQ Z30, {ax}, {ax}")
	// Lanes 0 and 2, 1 and 3 of each frame into one half of a vector.
	for _, s := range []struct{ sum, to, imm, pow, aad string }{{"lo", "alo", "00", "Z29", "Z30"}, {"hi", "ahi", "11", "Z29", "Z30"}, {"mid", "amids", "00", amid, "{ax}"}} {
		o = append(o, f("VPCLMULQDQ $0x%s, %s, %s, {%s}", s.imm, s.pow, s.aad, s.to),
			f("VSHUFI64X2 $0x44, {%sB}, {%sA}, {s%s}", s.sum, s.sum, s.sum), f("VSHUFI64X2 $0xee, {%sB}, {%sA}, {t%s}", s.sum, s.sum, s.sum),
			f("VPTERNLOGQ $0x96, {s%s}, {t%s}, {%s}", s.sum, s.sum, s.to))
	}
	reduce := runConst(v, 27, "reduce<>(SB)")
	o = append(o, "VPTERNLOGQ $0x96, {alo}, {ahi}, {amids}",
		f("VPCLMULQDQ $0x10, %s, {alo}, {r1}", reduce), "VPSHUFD $0x4e, {alo}, {alo}", "VPTERNLOGQ $0x96, {r1}, {alo}, {amids}",
		f("VPCLMULQDQ $0x10, %s, {amids}, {r2}", reduce), "VPSHUFD $0x4e, {amids}, {amids}", "VPTERNLOGQ $0x96, {r2}, {amids}, {ahi}",
		"VSHUFI64X2 $0xb1, {ahi}, {ahi}, {y}", "VPXORQ {ahi}, {y}, {y}")
	if seal {
		return append(o, "VPSHUFB Z31, {y}, {y}", "VPXORQ Z28, {y}, {y}", "MOVQ tagA-16(SP), BX", "VMOVDQU64 {X:y}, (BX)", "MOVQ tagB-24(SP), R10", "VEXTRACTI64X2 $2, {y}, (R10)")
	}
	return append(o, "VPXORQ Z28, {y}, {y}", "VPTESTMQ {y}, {y}, K0", "KORB K0, K6, K6")
}

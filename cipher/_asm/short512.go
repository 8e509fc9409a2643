package main

// AES-GCM of many short frames (up to 176 bytes, header and AAD of at most 32), in
// pairs and as a software pipeline: while a pair is encrypted, the pair before it is
// hashed. One short frame is bound by latency (about 45 cycles of AES, then 60 of GHASH,
// for work of 20), and the schedulers hold too few frames for the core to overlap them
// by itself; what is left is bound by the number of instructions, some 100 a frame.
// So the two share what they can:
//
//   - J0 is the last lane of a frame's last vector, which the text leaves free.
//   - The AAD blocks of both are one vector, first frame in the lower half. The sums of
//     both frames are brought into that shape, their four lanes into two, and
//     reduced as one.
//   - The length block is the last lane of the last ciphertext vector.
//
// Every vector is masked, so a call takes any mixture of lengths that its number of
// vectors holds. Keys may differ. With an odd count the last frame is its own pair:
// all loads of a pair stand before its stores, so it is done twice over with one result.
//
// Registers: R13 R12 frames A and B; AX BX their keys, DX R11 their powers; CX SI DI R10
// scratch; of the pair before: R8 R9 powers, keyA keyB on the stack keys, tagA tagB
// where the tag (Seal) or the verdict (Open) goes, R14 scratch. K1-K3 and K4-K6 masks of
// A and B, K7 last lane. Z31 byte swap; of the pair before: Z30 AAD blocks, Z29 their
// powers, Z28 E(J0) in lanes 0 and 2 (for Open XOR the tags received, and byte-swapped), from Z16 on
// A's ciphertext and then B's, byte-swapped; the rest by assign.
//
// There is no branch but the loop's. Dead lanes may lie on an absent page: that is
// correct, if slow, and too rare to spend a branch on. Constant time and exit as in
// gcm512.go.

const shortVectors = 3

// shortData has the counters: of the vectors of four blocks each, and of the last of v
// vectors, whose last lane is J0.
func shortData() []string {
	counter := func(c int) []uint64 { return []uint64{0, uint64(c) << 56} }
	var full, last []uint64
	for v := range shortVectors {
		for lane := range 4 {
			full = append(full, counter(4*v+lane+2)...)
			if lane == 3 {
				last = append(last, counter(1)...)
			} else {
				last = append(last, counter(4*v+lane+2)...)
			}
		}
	}
	return cat(data("shortFull", full...), data("shortLast", last...))
}

// shortCounter is where the counters of vector j of v lie.
func shortCounter(v, j int) string {
	if j == v-1 {
		return f("shortLast<>+%d(SB)", 64*j)
	}
	return f("shortFull<>+%d(SB)", 64*j)
}

// half is one frame of a pair.
type half struct {
	name            string
	frame, key, pow string
	mask            int // of its first vector
	ct              int // register of its first ciphertext vector
}

func halves(v int) [2]half {
	return [2]half{{"A", "R13", "AX", "DX", 1, 16}, {"B", "R12", "BX", "R11", 4, 16 + v}}
}

func short(nr int, seal bool) []string {
	name := map[bool]string{true: "sealShort", false: "openShort"}[seal] + f("%dAVX512", bits(nr))
	o := text(f(`func %s(frames *GCMFrame, count, vectors int)
		AES-%d-GCM of count > 0 frames whose texts, and 16 bytes more, fit the given number of vectors
		(1 to %d), all lengths checked. Open sets OK; the caller must clear what is refused.`, name, bits(nr), shortVectors), name, 64, 24)
	o = append(o, "MOVQ frames+0(FP), R13", "MOVQ count+8(FP), CX", "DECQ CX", f("IMULQ $%d, CX", frameSize), "ADDQ R13, CX", "MOVQ CX, last-8(SP)",
		f("LEAQ %d(R13), R12", frameSize), "CMPQ R12, CX", "CMOVQHI CX, R12",
		"VBROADCASTI32X4 bswap<>(SB), Z31", "MOVQ vectors+16(FP), CX")
	for v := 2; v <= shortVectors; v++ {
		o = append(o, f("CMPQ CX, $%d", v), f("JEQ first%d", v))
	}
	for v := 1; v <= shortVectors; v++ {
		var pool []int
		for z := range 28 {
			if (z < 16 || z >= 16+2*v) && (v > 2 || z < 27-v) {
				pool = append(pool, z)
			}
		}
		next := []string{f("ADDQ $%d, R13", 2*frameSize), f("LEAQ %d(R13), R12", frameSize), "CMPQ R12, last-8(SP)", "CMOVQHI last-8(SP), R12",
			"CMPQ R13, last-8(SP)"}
		o = append(o, f("first%d:", v))
		if v <= 2 {
			o = append(o, "VMOVDQU64 reduce<>(SB), Z27")
			for j := range v {
				o = append(o, f("VMOVDQU64 %s, Z%d", shortCounter(v, j), 27-v+j))
			}
		}
		o = append(o, assign(cat(shortAES(nr, v, seal), shortText(nr, v, seal)), pool)...)
		o = append(o, next...)
		o = append(o, f("JHI tail%d", v), f("pair%d:", v))
		o = append(o, assign(cat(merge(shortAES(nr, v, seal), shortHash(v, seal)), shortText(nr, v, seal)), pool)...)
		o = append(o, next...)
		o = append(o, f("JLS pair%d", v), f("tail%d:", v))
		o = append(o, assign(shortHash(v, seal), pool)...)
		if v < shortVectors {
			o = append(o, "JMP done")
		}
	}
	o = append(o, "done:")
	o = append(o, wipe()...)
	return append(o, "RET", "")
}

// shortAES sets a pair up and encrypts its counters but for the last round.
func shortAES(nr, v int, seal bool) []string {
	var o []string
	for i, h := range halves(v) {
		n := h.name
		o = append(o, f("MOVQ %d(%s), %s", frameKey, h.frame, h.key), f("MOVQ (%s), %s", h.key, h.key), f("MOVQ %d(%s), CX", frameN, h.frame))
		if !seal {
			o = append(o, "SUBQ $16, CX") // the tag
		}
		for j := range v {
			if j > 0 { // what is left for this vector, 0 if nothing
				o = append(o, f("LEAQ -%d(CX), SI", 64*j), "MOVQ SI, DI", "SARQ $63, DI", "ANDNQ SI, DI, SI")
			}
			o = append(o, "MOVQ $-1, R10", f("BZHIQ %s, R10, R10", map[bool]string{true: "SI", false: "CX"}[j > 0]), f("KMOVQ R10, K%d", h.mask+j))
		}
		o = append(o, f("LEAQ 15(CX), %s", h.pow), f("ANDQ $-16, %s", h.pow), f("NEGQ %s", h.pow), f("LEAQ %d(%s)(%s*1), %s", offH1, h.key, h.pow, h.pow),
			"SHLQ $3, CX", f("VMOVQ CX, {X:len%s}", n),
			f("MOVQ %d(%s), SI", frameAADN, h.frame), f("MOVL %d(%s), DI", frameHeadN, h.frame), f("MOVQ %d(%s), R10", frameAAD, h.frame),
			f("TESTQ SI, SI; CMOVQEQ %s, R10", h.frame), "SUBQ DI, R10", // of no AAD the address may be nil
			"MOVQ $-1, CX", "BZHIQ SI, CX, CX", "SHLXQ DI, CX, CX",
			"ADDQ DI, SI", f("LEAQ (SI*8), DI"), f("VPINSRQ $1, DI, {X:len%s}, {X:len%s}", n, n),
			f("VMOVDQU64 %d(%s), {X:aad%s}", frameHead, h.frame, n))
		o = append(o, "KMOVD CX, K7", f("VMOVDQU8 (R10), K7, {Y:aad%s}", n),
			"ADDQ $15, SI", "ANDQ $-16, SI", "NEGQ SI")
		if i == 0 {
			o = append(o, f("VMOVDQU64 (%s)(SI*1), {Y:apow}", h.pow))
		} else {
			o = append(o, f("VINSERTI64X4 $1, (%s)(SI*1), {apow}, {apow}", h.pow), "VINSERTI64X4 $1, {Y:aadB}, {aadA}, {aadA}", "VPSHUFB Z31, {aadA}, {aadA}")
		}
		o = append(o, f("VBROADCASTI32X4 %d(%s), {nonce%s}", frameNonce, h.frame, n), f("VBROADCASTI32X4 (%s), {key%s}", h.key, n),
			f("VPXORQ {key%s}, {nonce%s}, {nonce%s}", n, n, n))
		for j := range v {
			from := shortCounter(v, j)
			if v <= 2 {
				from = f("Z%d", 27-v+j)
			}
			o = append(o, f("VPXORQ %s, {nonce%s}, {%s%d}", from, n, n, j))
		}
	}
	for r := 1; r < nr; r++ {
		for _, h := range halves(v) {
			o = append(o, f("VBROADCASTI32X4 %d(%s), {key%s%d}", 16*r, h.key, h.name, r))
		}
		for j := range v {
			for _, h := range halves(v) {
				o = append(o, f("VAESENC {key%s%d}, {%s%d}, {%s%d}", h.name, r, h.name, j, h.name, j))
			}
		}
	}
	return o
}

// shortText encrypts the text of a pair and makes it the pair before.
func shortText(nr, v int, seal bool) []string {
	var o []string
	address := map[string][2]string{"A": {"SI", "DI"}, "B": {"CX", "R10"}}
	for _, h := range halves(v) {
		o = append(o, f("MOVQ %d(%s), %s", frameSrc, h.frame, address[h.name][0]), f("MOVQ %d(%s), %s", frameDst, h.frame, address[h.name][1]),
			f("VBROADCASTI32X4 %d(%s), {keylast%s}", 16*nr, h.key, h.name))
	}
	for j := range v {
		for _, h := range halves(v) {
			n := h.name
			t := f("{text%s%d}", n, j)
			o = append(o, f("VMOVDQU8.Z %d(%s), K%d, %s", 64*j, address[n][0], h.mask+j, t))
			if !seal {
				o = append(o, f("VPSHUFB Z31, %s, Z%d", t, h.ct+j))
			}
			o = append(o, f("VPXORQ {keylast%s}, %s, %s", n, t, t), f("VAESENCLAST %s, {%s%d}, {%s%d}", t, n, j, n, j))
		}
	}
	if !seal { // the tags, before anything is stored
		o = append(o, f("MOVQ %d(R13), R14", frameN), "VMOVDQU64 -16(SI)(R14*1), {X:tags}", f("MOVQ %d(R12), R14", frameN), "VINSERTI64X2 $2, -16(CX)(R14*1), {tags}, {tags}")
	}
	for j := range v {
		for _, h := range halves(v) {
			n := h.name
			o = append(o, f("VMOVDQU8 {%s%d}, K%d, %d(%s)", n, j, h.mask+j, 64*j, address[n][1]))
			if seal {
				o = append(o, f("VMOVDQU8.Z {%s%d}, K%d, Z%d", n, j, h.mask+j, h.ct+j), f("VPSHUFB Z31, Z%d, Z%d", h.ct+j, h.ct+j))
			}
			if j == v-1 {
				o = append(o, f("VINSERTI64X2 $3, {X:len%s}, Z%d, Z%d", n, h.ct+j, h.ct+j))
			}
		}
	}
	o = append(o, f("VSHUFI64X2 $0xff, {B%d}, {A%d}, Z28", v-1, v-1))
	for _, h := range halves(v) {
		slot := map[string]string{"A": "tagA-32(SP)", "B": "tagB-40(SP)"}[h.name]
		if seal {
			o = append(o, f("ADDQ %d(%s), %s", frameN, h.frame, address[h.name][1]), f("MOVQ %s, %s", address[h.name][1], slot))
		} else {
			o = append(o, f("LEAQ %d(%s), CX", frameOK, h.frame), f("MOVQ CX, %s", slot))
		}
	}
	if !seal {
		o = append(o, "VPXORQ {tags}, Z28, Z28", "VPSHUFB Z31, Z28, Z28")
	}
	return append(o, "VMOVDQA64 {aadA}, Z30", "VMOVDQA64 {apow}, Z29", "MOVQ AX, keyA-16(SP)", "MOVQ BX, keyB-24(SP)", "MOVQ DX, R8", "MOVQ R11, R9")
}

// shortHash finishes the pair before.
func shortHash(v int, seal bool) []string {
	var o []string
	pow := map[string]string{"A": "R8", "B": "R9"}
	for _, h := range halves(v) {
		n := h.name
		o = append(o, f("MOVQ %s, R14", map[string]string{"A": "keyA-16(SP)", "B": "keyB-24(SP)"}[n]))
		for j := range v {
			c := f("Z%d", h.ct+j)
			p, m, x := f("{p%s%d}", n, j), f("{m%s%d}", n, j), f("{x%s%d}", n, j)
			o = append(o, f("VMOVDQU64 %d(%s), %s", 64*j, pow[n], p))
			if j == v-1 { // the length block's
				o = append(o, f("VINSERTI64X2 $3, %d(R14), %s, %s", offH1, p, p))
			}
			o = append(o, f("VPSHUFD $0x4e, %s, %s", p, m), f("VPXORQ %s, %s, %s", p, m, m), f("VPSHUFD $0x4e, %s, %s", c, x), f("VPXORQ %s, %s, %s", c, x, x))
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
	o = append(o, "VPSHUFD $0x4e, Z30, {ax}", "VPXORQ Z30, {ax}, {ax}", "VPSHUFD $0x4e, Z29, {am}", "VPXORQ Z29, {am}, {am}",
		"VPCLMULQDQ $0x00, Z29, Z30, {alo}", "VPCLMULQDQ $0x11, Z29, Z30, {ahi}", "VPCLMULQDQ $0x00, {am}, {ax}, {amid}")
	// Lanes 0 and 2, 1 and 3 of each frame into one half of a vector.
	for _, s := range []string{"lo", "hi", "mid"} {
		o = append(o, f("VSHUFI64X2 $0x44, {%sB}, {%sA}, {s%s}", s, s, s), f("VSHUFI64X2 $0xee, {%sB}, {%sA}, {t%s}", s, s, s),
			f("VPTERNLOGQ $0x96, {s%s}, {t%s}, {a%s}", s, s, s))
	}
	reduce := "Z27"
	if v > 2 {
		reduce = "reduce<>(SB)"
	}
	o = append(o, "VPTERNLOGQ $0x96, {alo}, {ahi}, {amid}",
		f("VPCLMULQDQ $0x10, %s, {alo}, {r1}", reduce), "VPSHUFD $0x4e, {alo}, {alo}", "VPTERNLOGQ $0x96, {r1}, {alo}, {amid}",
		f("VPCLMULQDQ $0x10, %s, {amid}, {r2}", reduce), "VPSHUFD $0x4e, {amid}, {amid}", "VPTERNLOGQ $0x96, {r2}, {amid}, {ahi}",
		"VSHUFI64X2 $0xb1, {ahi}, {ahi}, {y}", "VPXORQ {ahi}, {y}, {y}")
	if seal {
		return append(o, "VPSHUFB Z31, {y}, {y}", "VPXORQ Z28, {y}, {y}", "MOVQ tagA-32(SP), R14", "VMOVDQU64 {X:y}, (R14)", "MOVQ tagB-40(SP), R14", "VEXTRACTI64X2 $2, {y}, (R14)")
	}
	// A bit for each 64 of the two that is not zero. What sets flags and what uses them is
	// one element each, which nothing can be merged into.
	return append(o, "VPXORQ Z28, {y}, {y}", "VPTESTMQ {y}, {y}, K0", "KMOVB K0, R14", "MOVQ R14, bits-48(SP)", "TESTB $0x03, R14; MOVQ tagA-32(SP), R14; SETEQ (R14)",
		"MOVQ tagB-40(SP), R14", "TESTB $0x30, bits-48(SP); SETEQ (R14)")
}

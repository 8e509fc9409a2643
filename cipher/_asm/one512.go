package main

// Open and Seal of one short frame of AES-GCM, header and all, as OpenKey.Open and SealKey.Seal have it. What
// follows is said of Open; Seal's kernel came later, of the same parts, and took SealKey.Seal at 96 bytes from 26.0 to 22.4 ns.
//
// What bounds it (Zen 5): from its first load to the verdict a frame takes some 110 cycles, and
// the core looks 450 instructions ahead, in which there was hardly room for a second frame: 215 in
// gcm512.go's straight line and as many in Go. So what counts is how few there are. Here they
// are 150 at 96 bytes, and the whole of OpenKey.Open fell from 29.7 to 23.8 ns (3.6 GHz): 3.5 by this
// kernel, the rest by fewer steps in Go.
//
//   - Arguments come by the stack, a word each: no GCMFrame is cleared, filled and read.
//   - The header is read where it lies, the nonce made from the counter by one shuffle.
//   - J0 is the last lane of the last vector, which the text leaves free, and so is the length block
//     when that is hashed.
//   - Only the last vector is masked. Lengths that need more masks, and what lies so near the end
//     of a page that a mask would have to keep off the next one, are left to gcm512.go.
//   - The middle halves of powers come from the key's table.
//   - Only registers that were used are cleared.
//
// Registers: AX key, SI sealed, R13 text, DI dst, R11 its length, R9 HeadLen, R10 AAD, CX its length,
// DX powers of the text, R12 those of the AAD, R8 BX scratch; K1 mask of the last vector, K2 of the
// header, K3 of the AAD; Z31 byte swap, Z30 salt, counter and first round key; the rest by assign.
//
// Constant time and exit as in gcm512.go; no branch but by the number of vectors.

func oneFile() []string {
	o := cat(data("bswap", 0x08090a0b0c0d0e0f, 0x0001020304050607), shortData(),
		data("reduce", 1, 0xc200000000000000, 1, 0xc200000000000000, 1, 0xc200000000000000, 1, 0xc200000000000000),
		bytesData("nonceBytes", nonceBytes(64)))
	for _, nr := range []int{10, 14} {
		o = append(o, one(nr)...)
		o = append(o, sealOne(nr)...)
	}
	return o
}

// oneRegs is what assign gets for so many vectors.
func oneRegs(v int) []int {
	var pool []int
	for z := range 10 + 2*v {
		pool = append(pool, z)
	}
	return pool
}

func one(nr int) []string {
	name := f("openOne%dAVX512", bits(nr))
	o := text(f(`func %s(k *gcmKey, salt *[2]uint64, dst, sealed *byte, n, headLen int, aad *byte, aadLen int, ctr uint64) (ok bool)
		AES-%d-GCM: opens header, n bytes of text and tag at sealed to dst. n is at most %d, and n mod 64 at most 48;
		headLen from 1 to 16, and headLen+aadLen at most 32. aad is an address even if aadLen is 0. If not ok, the caller must clear dst.`,
		name, bits(nr), 64*shortVectors-16), name, 0, 73)
	return append(o, oneEach(func(v int) []string {
		return cat(oneCounters(v), merge(oneAES(nr, v), oneHash(v)), oneText(nr, v), oneVerdict())
	})...)
}

// oneEach is a kernel: the key in AX, what the counters differ from in Z30, and for each number of vectors its body.
func oneEach(body func(v int) []string) []string {
	o := []string{"MOVQ k+0(FP), AX", "MOVQ salt+8(FP), BX", "VPBROADCASTQ ctr+64(FP), Z30", "VPSHUFB nonceBytes<>(SB), Z30, Z30",
		"VBROADCASTI32X4 (BX), Z0", "VBROADCASTI32X4 (AX), Z1", "VPTERNLOGQ $0x96, Z0, Z1, Z30",
		"VBROADCASTI32X4 bswap<>(SB), Z31", "MOVQ n+32(FP), R11"}
	for v := 1; v < shortVectors; v++ {
		o = append(o, f("CMPQ R11, $%d", 64*v-16), f("JLS one%d", v))
	}
	for v := shortVectors; v > 0; v-- {
		o = append(o, f("one%d:", v))
		o = append(o, assign(body(v), oneRegs(v))...)
		for _, z := range oneRegs(v) {
			if z < 16 {
				o = append(o, f("VPXOR X%d, X%d, X%d", z, z, z))
			}
		}
		o = append(o, "VPXORQ X30, X30, X30", "VPXORQ X31, X31, X31", "VZEROUPPER", "RET")
	}
	return append(o, "")
}

func oneCounters(v int) []string {
	var o []string
	for j := range v {
		o = append(o, f("VPXORQ %s, Z30, {a%d}", shortCounter(v, j), j))
	}
	return o
}

// oneAES encrypts the counters but for the last round.
func oneAES(nr, v int) []string {
	var o []string
	for r := 1; r < nr; r++ {
		o = append(o, f("VBROADCASTI32X4 %d(AX), {key%d}", 16*r, r))
		for j := range v {
			o = append(o, f("VAESENC {key%d}, {a%d}, {a%d}", r, j, j))
		}
	}
	return o
}

// oneHash loads the ciphertext and multiplies it, AAD and length block by their powers.
func oneHash(v int) []string {
	last := v - 1
	o := []string{"MOVQ sealed+24(FP), SI", "MOVQ headLen+40(FP), R9", "LEAQ (SI)(R9*1), R13", "MOVQ $-1, R8"}
	for j := range last {
		o = append(o, f("VMOVDQU64 %d(R13), {c%d}", 64*j, j))
	}
	o = append(o, f("LEAQ -%d(R11), BX", 64*last), "BZHIQ BX, R8, BX", "KMOVQ BX, K1", f("VMOVDQU8.Z %d(R13), K1, {c%d}", 64*last, last),
		"BZHIQ R9, R8, BX", "KMOVW BX, K2", "VMOVDQU8.Z (SI), K2, {X:aad}")
	o = append(o, oneAAD()...)
	o = append(o, "LEAQ (R11*8), BX", "VMOVQ BX, {X:len}", "SHLQ $3, CX", "VPINSRQ $1, CX, {X:len}, {X:len}")
	for j := range v {
		o = append(o, f("VPSHUFB Z31, {c%d}, {s%d}", j, j))
		if j == last {
			o = append(o, f("VINSERTI64X2 $3, {X:len}, {s%d}, {s%d}", j, j))
		}
		o = append(o, oneProducts(v, j)...)
	}
	return append(o, oneReduce()...)
}

// oneAAD multiplies header, in {X:aad}, and AAD by their powers; it leaves their length in CX.
func oneAAD() []string {
	return []string{
		"LEAQ 15(R11), DX", "ANDQ $-16, DX", "NEGQ DX", f("LEAQ %d(AX)(DX*1), DX", offH1),
		"MOVQ aad+48(FP), R10", "MOVQ aadLen+56(FP), CX", "SUBQ R9, R10", "BZHIQ CX, R8, BX", "SHLXQ R9, BX, BX", "KMOVD BX, K3", "VMOVDQU8 (R10), K3, {Y:aad}",
		"ADDQ R9, CX", "LEAQ 15(CX), R12", "ANDQ $-16, R12", "NEGQ R12",
		"VPSHUFB Y31, {Y:aad}, {Y:aad}", "VPSHUFD $0x4e, {Y:aad}, {Y:aadx}", "VPXORQ {Y:aad}, {Y:aadx}, {Y:aadx}",
		"VPCLMULQDQ $0x00, (DX)(R12*1), {Y:aad}, {Y:lo}", "VPCLMULQDQ $0x11, (DX)(R12*1), {Y:aad}, {Y:hi}", f("VPCLMULQDQ $0x00, %d(DX)(R12*1), {Y:aadx}, {Y:mid}", midsFrom)}
}

// oneProducts multiplies vector j, {s j}, of v, whose last one ends with the length block.
func oneProducts(v, j int) []string {
	var o []string
	p, m := f("%d(DX)", 64*j), f("%d(DX)", 64*j+midsFrom)
	if j == v-1 {
		o = append(o, f("VMOVDQU64 %s, {p}", p), f("VINSERTI64X2 $3, %d(AX), {p}, {p}", offH1), f("VMOVDQU64 %s, {m}", m), f("VINSERTI64X2 $3, %d(AX), {m}, {m}", offH1+midsFrom))
		p, m = "{p}", "{m}"
	}
	return append(o, f("VPSHUFD $0x4e, {s%d}, {x%d}", j, j), f("VPXORQ {s%d}, {x%d}, {x%d}", j, j, j),
		f("VPCLMULQDQ $0x00, %s, {s%d}, {lo%d}", p, j, j), f("VPXORQ {lo%d}, {lo}, {lo}", j),
		f("VPCLMULQDQ $0x11, %s, {s%d}, {hi%d}", p, j, j), f("VPXORQ {hi%d}, {hi}, {hi}", j),
		f("VPCLMULQDQ $0x00, %s, {x%d}, {mid%d}", m, j, j), f("VPXORQ {mid%d}, {mid}, {mid}", j))
}

// oneReduce is the reduction, and the sum of the lanes but for its last step.
func oneReduce() []string {
	return []string{"VPTERNLOGQ $0x96, {lo}, {hi}, {mid}",
		"VPCLMULQDQ $0x10, reduce<>(SB), {lo}, {r1}", "VPSHUFD $0x4e, {lo}, {lo}", "VPTERNLOGQ $0x96, {r1}, {lo}, {mid}",
		"VPCLMULQDQ $0x10, reduce<>(SB), {mid}, {r2}", "VPSHUFD $0x4e, {mid}, {mid}", "VPTERNLOGQ $0x96, {r2}, {mid}, {hi}",
		"VEXTRACTI64X2 $1, {hi}, {X:up}", "VEXTRACTI64X2 $2, {hi}, {X:up2}", "VEXTRACTI64X2 $3, {hi}, {X:up3}", "VPTERNLOGQ $0x96, {X:up2}, {X:up3}, {X:up}"}
}

// oneText decrypts the text.
func oneText(nr, v int) []string {
	o := []string{f("VBROADCASTI32X4 %d(AX), {keylast}", 16*nr), "MOVQ dst+16(FP), DI"}
	for j := range v {
		o = append(o, f("VPXORQ {keylast}, {c%d}, {c%d}", j, j), f("VAESENCLAST {c%d}, {a%d}, {a%d}", j, j, j))
	}
	o = append(o, f("VEXTRACTI64X2 $3, {a%d}, {X:tag}", v-1), "VPXORQ (R13)(R11*1), {X:tag}, {X:tag}")
	for j := range v - 1 {
		o = append(o, f("VMOVDQU64 {a%d}, %d(DI)", j, 64*j))
	}
	return append(o, f("VMOVDQU8 {a%d}, K1, %d(DI)", v-1, 64*(v-1)))
}

// oneVerdict compares the tag: hash, E(J0) and what was received, summed.
func oneVerdict() []string {
	return []string{"VPSHUFB X31, {X:tag}, {X:tag}", "VPTERNLOGQ $0x96, {X:up}, {X:hi}, {X:tag}", "VPTEST {X:tag}, {X:tag}", "SETEQ ok+72(FP)"}
}

// sealOne is Seal of one short frame, as SealKey.Seal has it. The registers are Open's but for: SI text, R13 where
// its ciphertext goes, DI where the header goes.
func sealOne(nr int) []string {
	name := f("sealOne%dAVX512", bits(nr))
	o := text(f(`func %s(k *gcmKey, salt *[2]uint64, dst, text *byte, n, headLen int, aad *byte, aadLen int, ctr, lo, hi uint64)
		AES-%d-GCM: writes the header in lo and hi, n bytes of text encrypted and the tag to dst. n, headLen, aad and aadLen are
		as for openOne.`, name, bits(nr)), name, 0, 88)
	return append(o, oneEach(func(v int) []string {
		return cat(oneCounters(v), merge(oneAES(nr, v), sealSetup(v)), sealText(nr, v), oneReduce(),
			[]string{"VPXORQ {X:hi}, {X:up}, {X:up}", "VPSHUFB X31, {X:up}, {X:up}", "VPXORQ {X:tag}, {X:up}, {X:up}", "VMOVDQU64 {X:up}, (R13)(R11*1)"})
	})...)
}

// sealSetup writes the header, and does what needs no ciphertext: masks, AAD, the length block in its lane.
func sealSetup(v int) []string {
	o := []string{"MOVQ dst+16(FP), DI", "MOVQ headLen+40(FP), R9", "LEAQ (DI)(R9*1), R13", "MOVQ $-1, R8", "MOVQ text+24(FP), SI",
		"VMOVQ lo+72(FP), {X:aad}", "VPINSRQ $1, hi+80(FP), {X:aad}, {X:aad}", "VMOVDQU64 {X:aad}, (DI)",
		f("LEAQ -%d(R11), BX", 64*(v-1)), "BZHIQ BX, R8, BX", "KMOVQ BX, K1"}
	o = append(o, oneAAD()...)
	return append(o, "SHLQ $3, CX", "BSWAPQ CX", "LEAQ (R11*8), BX", "BSWAPQ BX", "VMOVQ CX, {X:len}", "VPINSRQ $1, BX, {X:len}, {X:len}",
		"VPXORQ {X:zero}, {X:zero}, {X:zero}", "VINSERTI64X2 $3, {X:len}, {zero}, {end}")
}

// sealText encrypts the text and multiplies it.
func sealText(nr, v int) []string {
	last := v - 1
	o := []string{f("VBROADCASTI32X4 %d(AX), {keylast}", 16*nr)}
	for j := range v {
		if j < last {
			o = append(o, f("VPXORQ %d(SI), {keylast}, {t%d}", 64*j, j))
		} else {
			o = append(o, f("VMOVDQU8.Z %d(SI), K1, {t%d}", 64*j, j), f("VPXORQ {keylast}, {t%d}, {t%d}", j, j))
		}
		o = append(o, f("VAESENCLAST {t%d}, {a%d}, {a%d}", j, j, j))
	}
	for j := range v {
		if j < last {
			o = append(o, f("VMOVDQU64 {a%d}, %d(R13)", j, 64*j), f("VPSHUFB Z31, {a%d}, {s%d}", j, j))
		} else {
			o = append(o, f("VMOVDQU8 {a%d}, K1, %d(R13)", j, 64*j), f("VMOVDQU8 {a%d}, K1, {end}", j), f("VPSHUFB Z31, {end}, {s%d}", j),
				f("VEXTRACTI64X2 $3, {a%d}, {X:tag}", j))
		}
	}
	for j := range v {
		o = append(o, oneProducts(v, j)...)
	}
	return o
}

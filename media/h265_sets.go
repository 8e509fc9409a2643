package media

// An h265SPSet is a sequence parameter set (7.3.2.2.1), as far as it is needed.
type h265SPSet struct {
	video
	id                     uint32
	subLayers              uint8    // sps_max_sub_layers_minus1
	nesting                bool     // sps_temporal_id_nesting_flag
	general                [12]byte // profile_tier_level up to general_level_idc, as it stands
	chroma                 uint32   // chroma_format_idc
	depthLuma, depthChroma uint32   // bits less 8
	separatePlanes         bool
	pocLSBBits             int
	reorder                int // sps_max_num_reorder_pics of the highest sub-layer
}

// parseH265SPS reads a sequence parameter set of the base layer from its payload
// without emulation prevention bytes.
func parseH265SPS(b []byte) (s h265SPSet, ok bool) {
	r := bitReader{b: b}
	r.bits(4)
	s.subLayers = uint8(r.bits(3))
	s.nesting = r.flag()
	for i := range s.general {
		s.general[i] = byte(r.bits(8))
	}
	skipH265SubLayers(&r, int(s.subLayers))
	s.id = r.ue()
	if s.chroma = r.ue(); s.chroma == 3 {
		s.separatePlanes = r.flag()
	}
	s.width, s.height = uint64(r.ue()), uint64(r.ue())
	if s.id > 15 || s.chroma > 3 || s.subLayers > 6 || s.width > 1<<16 || s.height > 1<<16 {
		return s, false
	}
	if r.flag() { // conformance_window_flag, in units of chroma samples
		x, y := uint64(1), uint64(1)
		if s.chroma == 1 || s.chroma == 2 {
			x = 2
		}
		if s.chroma == 1 {
			y = 2
		}
		s.width = crop(s.width, x*(uint64(r.ue())+uint64(r.ue())))
		s.height = crop(s.height, y*(uint64(r.ue())+uint64(r.ue())))
	}
	s.depthLuma, s.depthChroma = r.ue(), r.ue()
	lsb := r.ue()
	if s.depthLuma > 8 || s.depthChroma > 8 || lsb > 12 {
		return s, false
	}
	s.pocLSBBits = int(lsb) + 4
	layers := 1
	if r.flag() { // sps_sub_layer_ordering_info_present_flag
		layers += int(s.subLayers)
	}
	for range layers {
		r.ue()
		s.reorder = int(r.ue())
		r.ue()
	}
	if r.short || s.reorder > 16 {
		return s, false
	}
	s.parseTiming(&r)
	return s, true
}

// parseTiming reads on to the VUI's frame rate. Of a set that cannot be read that
// far the rate is not stated.
func (s *h265SPSet) parseTiming(r *bitReader) {
	for range 6 {
		r.ue()
	}
	if r.flag() { // scaling_list_enabled_flag
		if r.flag() { // sps_scaling_list_data_present_flag
			skipH265ScalingLists(r)
		}
	}
	r.skip(2)
	if r.flag() { // pcm_enabled_flag
		r.skip(8)
		r.ue()
		r.ue()
		r.skip(1)
	}
	if !skipH265RefSets(r) {
		return
	}
	if r.flag() { // long_term_ref_pics_present_flag
		n := r.ue()
		if n > 32 {
			return
		}
		r.skip(int(n) * (s.pocLSBBits + 1))
	}
	r.skip(2)
	if !r.flag() { // vui_parameters_present_flag
		return
	}
	if r.flag() && r.bits(8) == 255 { // aspect_ratio_idc: Extended_SAR
		r.skip(32)
	}
	if r.flag() { // overscan_info_present_flag
		r.skip(1)
	}
	if r.flag() { // video_signal_type_present_flag
		r.skip(4)
		if r.flag() {
			r.skip(24)
		}
	}
	if r.flag() { // chroma_loc_info_present_flag
		r.ue()
		r.ue()
	}
	r.skip(3)
	if r.flag() { // default_display_window_flag
		for range 4 {
			r.ue()
		}
	}
	if r.flag() { // vui_timing_info_present_flag
		units, scale := r.bits(32), r.bits(32)
		if !r.short && units != 0 && scale != 0 {
			s.rateNum, s.rateDen = uint64(scale), uint64(units)
		}
	}
}

// skipH265SubLayers passes the sub-layers of profile_tier_level (7.3.3).
func skipH265SubLayers(r *bitReader, n int) {
	if n == 0 {
		return
	}
	var profile, level [8]bool
	for i := range 8 {
		if i < n {
			profile[i], level[i] = r.flag(), r.flag()
		} else {
			r.skip(2)
		}
	}
	for i := range n {
		if profile[i] {
			r.skip(88)
		}
		if level[i] {
			r.skip(8)
		}
	}
}

// skipH265ScalingLists passes scaling_list_data (7.3.4).
func skipH265ScalingLists(r *bitReader) {
	for size := range 4 {
		step := 1
		if size == 3 {
			step = 3
		}
		for m := 0; m < 6; m += step {
			if !r.flag() {
				r.ue()
				continue
			}
			if size > 1 {
				r.se()
			}
			for range min(64, 16<<(2*size)) {
				r.se()
			}
		}
	}
}

// skipH265RefSets passes the short-term reference picture sets (7.3.7).
func skipH265RefSets(r *bitReader) bool {
	n := r.ue()
	if n > 64 {
		return false
	}
	var pocs uint32 // NumDeltaPocs of the set before
	for i := range n {
		if i > 0 && r.flag() { // inter_ref_pic_set_prediction_flag
			r.skip(1)
			r.ue()
			count := uint32(0)
			for range pocs + 1 {
				used := r.flag() // used_by_curr_pic_flag
				if !used {
					used = r.flag() // use_delta_flag
				}
				if used {
					count++
				}
			}
			pocs = count
			continue
		}
		negative, positive := r.ue(), r.ue()
		if negative > 16 || positive > 16 {
			return false
		}
		pocs = negative + positive
		for range pocs {
			r.ue()
			r.skip(1)
		}
	}
	return !r.short
}

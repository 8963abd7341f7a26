#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace sluice::pcap {

struct Recovered {
    std::uint64_t records = 0;     // packets that the file has now
    std::uint64_t bytes_kept = 0;  // its length now
    std::uint64_t bytes_cut = 0;   // what was behind: preallocated, recycled or torn
    bool had_sidecar = false;
    std::string note;  // one sentence about what was done
};

// Makes a capture file whole whose writer died. With a sidecar, the file ends after the last whole
// record of the part that was committed, and the sidecar goes. Without one, a torn record at the
// end is cut off; a whole file is left as it is, and one that is broken further in front is an
// error and left as it is. Reads pcap (both resolutions and byte orders) and pcapng, in pieces.
// `path` may be that of the sidecar. A file that is being written is refused (EBUSY).
Result<Recovered> recover(const std::string& path);

}  // namespace sluice::pcap

#pragma once

#include <string>

#include "base/result.hpp"

namespace sluice::test {

// Writes frames that no trace of rlite has, made by our own encoders: VMPI, other formats of the
// PCI, SDU protection, selective acknowledgements, delimiting, and what else is between our own
// nodes only. Ethernet and VMPI, a few files.
Result<> write_frames(const std::string& folder);

}  // namespace sluice::test

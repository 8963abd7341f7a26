#pragma once

#include <string>

#include "base/result.hpp"

namespace sluice::test {

// What our decoders find in each packet of a PCAP file: a line for each, with the names that
// scripts/wireshark gives the fields, "NAME=VALUE;VALUE<tab>...". Values that mean nothing (absent,
// 0, "") are left out where protobuf may leave them out. "error=WHAT" if it is none.
// The file's name says what captures do not: "delimited" user data, profile "irati" of VMPI.
Result<std::string> lines_of(const std::string& path);

}  // namespace sluice::test

#pragma once

#include <cerrno>
#include <fstream>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "pcap_writer/pcap.hpp"

namespace sluice::test {

inline Result<std::vector<std::byte>> load_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) return fail(ENOENT, "cannot open {}", path);
    std::vector<std::byte> bytes(static_cast<std::size_t>(file.tellg()));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!file) return fail(EIO, "cannot read {}", path);
    return bytes;
}

inline Result<> save_file(const std::string& path, pcap::Bytes bytes) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file) return fail(EIO, "cannot write {}", path);
    return {};
}

}  // namespace sluice::test

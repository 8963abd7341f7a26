#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "app/config.hpp"
#include "base/result.hpp"
#include "control/value.hpp"

namespace sluice::app {

// sluice-capture's options in dumpcap's letters, so that a capture needs no configuration file.
struct CaptureCli {
    std::vector<std::string> interfaces, rotate, stop, recover;
    std::string file, filter, disk_limit, flow_cutoff, sample, compress, io, user, selftest,
        preallocate, socket, buffer, idle;
    std::uint64_t snaplen = 262144, count = 0, queues = 1, mtu = 0;
    int io_lcore = -1;
    bool group = false, pcapng = false, pcap = false, quiet = false, micro = false, null = false,
         merge = false, port_stamps = false,
         json = false, stop_on_error = false;

    // --selftest: measures the disk if that is wanted, and turns the rest of the options into those
    // of the other half, which runs as a capture that writes nothing.
    Result<control::Value> begin_selftest();
    void add_to(CLI::App& app);
    bool asked() const noexcept { return !interfaces.empty(); }
    // The configuration that these options make, by the same rules as one in a file.
    Result<Config> config(const ConfigScope& scope) const;
    Result<capture::LaneConfig> lane() const;
};

// Parts of the grammar that the configuration file has too. Errors say what was expected.
Result<> read_disk_limit(const std::string& text, capture::LaneConfig& out);
Result<std::uint32_t> read_sample(const std::string& text);

}  // namespace sluice::app

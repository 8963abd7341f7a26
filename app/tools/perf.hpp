#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "flow_options.hpp"
#include "perf_protocol.hpp"

namespace sluice::tools {

struct PerfOptions {
    FlowOptions flow;
    std::string server = kPerfServer;
    Opcode test = Opcode::ping;
    std::uint64_t count = 0;
    std::size_t size = 0;
    double seconds = 0;
    std::uint64_t interval_us = 0;
    std::optional<double> report;  // seconds between lines
    int parallel = 1;
    bool json = false;
    bool quiet = false;
};

// The exit code.
int run_perf_client(const PerfOptions& options);
[[noreturn]] void run_perf_server(const PerfOptions& options);

}  // namespace sluice::tools

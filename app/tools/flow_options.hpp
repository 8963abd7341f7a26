#pragma once

#include <rina/api.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

// What the tools share: what a flow is to be like, as options, and errors as one line.

namespace sluice::tools {

struct FlowOptions {
    std::string dif;
    std::string local;
    bool reliable = false;
    bool unreliable = false;
    std::optional<std::uint64_t> gap;
    std::optional<double> loss;  // percent
    std::string bandwidth;
    std::uint32_t delay_us = 0;
    std::uint32_t jitter_us = 0;

    const char* dif_or_null() const { return dif.empty() ? nullptr : dif.c_str(); }
};

// The command line; ends the program with one line if it is wrong.
void parse(CLI::App& app, int argc, char** argv);

void add_flow_options(CLI::App& app, FlowOptions& options);
// `reliable` unless the options say otherwise. Ends the program if they make no sense.
rina_flow_spec spec_of(const FlowOptions& options, bool reliable);

// "sluice-cat: cannot do it: reason", and exit code 1.
[[noreturn]] void die(const std::string& text);
// The same, with what errno means to somebody who asks for flows.
[[noreturn]] void die_errno(const std::string& text);
std::string errno_text(int code);

// Ends the program if there is no server, or no flow.
int open_and_register(const FlowOptions& options, const std::string& name);
int allocate(const FlowOptions& options, const std::string& remote, const rina_flow_spec& spec);

// A number of bits or bytes, with k, M, G for thousands. Nothing if it is none.
std::optional<std::uint64_t> parse_quantity(const std::string& text);

// True if `fd` is ready for `events` within that time; -1: for ever.
bool wait_for(int fd, short events, int milliseconds);

}  // namespace sluice::tools

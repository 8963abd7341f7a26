#include "app/node.hpp"

namespace sluice::app {

using control::Access;
using control::Args;
using control::Value;

namespace {

constexpr const char* kStartCapture =
    "start capture PORT <FILE:path> [direction rx|tx|both] [snaplen <SNAPLEN:uint>] "
    "[filter EXPRESSION] [format pcap|pcap-us|pcapng] [filesize <FILESIZE:size>] "
    "[duration <DURATION:duration>] [packets <PACKETS:uint>] [files <FILES:uint>] "
    "[stop_packets <STOP_PACKETS:uint>] [stop_duration <STOP_DURATION:duration>] "
    "[sample <SAMPLE:uint>] [flow_cutoff <CUTOFF:size>] [compress none|zstd|lz4] "
    "[buffer <BUFFER:size>] [group_readable]";

// A number that has to fit what it is for.
Result<std::uint32_t> bounded(const Args& args, const char* variable, const char* what,
                              std::uint32_t most, std::uint32_t fallback) {
    const auto value = args.optional_uint(variable);
    if (!value) return fallback;
    if (*value < 1 || *value > most)
        return fail(EINVAL, "{} is {}, expected 1 to {}", what, *value, most);
    return static_cast<std::uint32_t>(*value);
}

Result<std::uint32_t> snaplen_of(const Args& args) {
    return bounded(args, "SNAPLEN", "snaplen", pcap::kSnaplenMax, pcap::kSnaplenMax);
}

// The same words as in a [[capture]] of a configuration file.
Result<CaptureSpec> spec_of(const Args& args) {
    CaptureSpec spec;
    spec.port = args.str("PORT");
    spec.direction = args.has("rx") ? "rx" : args.has("tx") ? "tx" : "both";
    capture::LaneConfig& lane = spec.lane;
    lane = tap_defaults();
    lane.port = spec.port;
    lane.file = args.str("FILE");
    SLUICE_TRY(lane.snaplen, snaplen_of(args));
    lane.filter = args.optional_str("EXPRESSION").value_or("");
    lane.format = args.has("pcapng")    ? capture::Format::pcapng
                  : args.has("pcap-us") ? capture::Format::pcap_us
                                        : capture::Format::pcap_ns;
    constexpr std::uint32_t kMost = 1'000'000'000;
    lane.rotation.bytes = args.optional_size("FILESIZE").value_or(0);
    lane.rotation.duration = args.optional_duration("DURATION").value_or(Duration{});
    SLUICE_TRY(lane.rotation.packets, bounded(args, "PACKETS", "packets", kMost, 0));
    SLUICE_TRY(lane.rotation.files, bounded(args, "FILES", "files", 1'000'000, 0));
    SLUICE_TRY(lane.stop.packets, bounded(args, "STOP_PACKETS", "stop_packets", kMost, 0));
    lane.stop.duration = args.optional_duration("STOP_DURATION").value_or(Duration{});
    SLUICE_TRY(lane.sample, bounded(args, "SAMPLE", "sample", kMost, 1));
    lane.flow_cutoff = args.optional_size("CUTOFF").value_or(0);
    if (args.has("zstd")) lane.codec = pcap::Codec::zstd;
    if (args.has("lz4")) lane.codec = pcap::Codec::lz4;
    lane.buffer_bytes = args.optional_size("BUFFER").value_or(lane.buffer_bytes);
    lane.group_readable = args.has("group_readable");
    return spec;
}

std::string port_or_all(const Args& args) {
    return args.has("PORT") ? args.str("PORT") : "all";
}

}  // namespace

// Captures are lanes of their own in sluice-capture, and taps in other roles.
Result<> Node::change_captures(const std::string& port, std::optional<std::string> filter,
                               std::optional<std::uint32_t> snaplen) {
    return lanes_ ? lanes_->change(port, std::move(filter), snaplen)
                  : captures_->change(port, std::move(filter), snaplen);
}

void Node::add_capture_commands(control::CommandTable& table) {
    table.add({"show capture", Access::read, "Captures, running and ended.",
               [this](const Args&) -> Result<Value> {
                   return lanes_ ? lanes_->show() : captures_->show();
               }});
    table.add({"rotate capture [PORT]", Access::write, "Begins new files.",
               [this](const Args& args) -> Result<Value> {
                   const std::string port = port_or_all(args);
                   SLUICE_TRY_VOID(lanes_ ? lanes_->rotate(port) : captures_->rotate(port));
                   return Value();
               }});
    table.add({"set capture (all|PORT) filter EXPRESSION", Access::write,
               "Another filter, from the next packet on; \"\" for none.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY_VOID(change_captures(port_or_all(args), args.str("EXPRESSION"),
                                                   std::nullopt));
                   return Value();
               }});
    table.add({"set capture (all|PORT) snaplen <SNAPLEN:uint>", Access::write,
               "How much of each packet is kept, from the next packet on.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY(const std::uint32_t snaplen, snaplen_of(args));
                   SLUICE_TRY_VOID(change_captures(port_or_all(args), std::nullopt, snaplen));
                   return Value();
               }});
    if (lanes_) {
        table.add({"stop capture", Access::write, "Ends the program, with everything written.",
                   [this](const Args&) -> Result<Value> {
                       loop_.stop();
                       return Value();
                   }});
        return;
    }
    table.add({kStartCapture, Access::write, "Writes what passes a port to files.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY(const CaptureSpec spec, spec_of(args));
                   SLUICE_TRY_VOID(captures_->start(spec));
                   return Value();
               }});
    table.add({"stop capture PORT", Access::write, "Ends a capture and closes its file.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY_VOID(captures_->stop(args.str("PORT")));
                   return Value();
               }});
}

}  // namespace sluice::app

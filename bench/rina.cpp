// What reading and writing the protocols of a normal DIF costs: PCIs and control PDUs that are in
// no cache but the last, beside a copy of 64 bytes, which is what to compare with; and CDAP
// messages, small and large. Prints one line of JSON.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.hpp"
#include "rina/cdap.hpp"
#include "rina/inet_checksum.hpp"
#include "rina/objects.hpp"
#include "rina/pci.hpp"

namespace {

using namespace sluice;
using namespace sluice::rina;

constexpr unsigned kPdus = 4096;
constexpr unsigned kStride = 2048;  // of an mbuf
constexpr unsigned kRounds = 400;
constexpr unsigned kRepetitions = 7;

// The compiler may not leave out what makes this value. By its address: as an operand the value
// would be copied, in larger pieces than it was just stored in, and that copy waits for the stores.
template <typename T>
void keep(const T& value) {
    asm volatile("" : : "r"(&value) : "memory");
}

// Nanoseconds of each of `count` calls: the least of some repetitions.
template <typename Work>
double ns_of(unsigned rounds, unsigned count, Work&& work) {
    double best = 1e18;
    for (unsigned repetition = 0; repetition < kRepetitions; ++repetition) {
        const auto begin = std::chrono::steady_clock::now();
        for (unsigned round = 0; round < rounds; ++round)
            for (unsigned i = 0; i < count; ++i) work(i);
        const std::chrono::duration<double, std::nano> spent =
            std::chrono::steady_clock::now() - begin;
        best = std::min(best, spent.count() / rounds / count);
    }
    return best;
}

CdapMessage flow_request() {
    FlowRequest r;
    r.source_application = {"rinaperf-data", "client", "", ""};
    r.destination_application = {"rinaperf-data", "server", "", ""};
    r.source_ipcp = "b.IPCP";
    r.destination_ipcp = "a.IPCP";
    r.connections = {{QosId{0}, CepId{1}, CepId{0}}};
    r.state = 1;
    r.policies.dtcp_present = true;
    r.policies.dtcp.flow.window_based = true;
    r.policies.dtcp.flow.window = WindowCfg{128, 512, {}, {}};
    CdapMessage m;
    m.op = OpCode::create;
    m.invoke_id = 3;
    m.obj_class = rib::kFlow.obj_class;
    m.obj_name = rib::kFlow.obj_name;
    m.value = value_of(r);
    AData a{Address{3}, Address{1}, m};
    CdapMessage outer;
    outer.op = OpCode::write;
    outer.obj_class = rib::kAData.obj_class;
    outer.obj_name = rib::kAData.obj_name;
    outer.value = value_of(a);
    return outer;
}

CdapMessage keepalive() {
    CdapMessage m;
    m.op = OpCode::read;
    m.invoke_id = 3;
    m.obj_class = rib::kKeepalive.obj_class;
    m.obj_name = rib::kKeepalive.obj_name;
    m.version = kCdapVersion;
    return m;
}

CdapMessage connect() {
    CdapMessage m;
    m.op = OpCode::connect;
    m.invoke_id = 1;
    m.version = kCdapVersion;
    m.source = {"b.IPCP", "", "", ""};
    m.destination = {"a.IPCP", "", "", ""};
    return m;
}

CdapMessage lower_flows() {
    LowerFlowList list;
    for (unsigned i = 0; i < 10; ++i)
        list.flows.push_back({fmt::format("node-{}.IPCP", i), "a.IPCP", 1, i, true, 0});
    CdapMessage m;
    m.op = OpCode::create;
    m.obj_class = rib::kRouting.obj_class;
    m.obj_name = rib::kRouting.obj_name;
    m.value = value_of(list);
    return m;
}

void row(const char* name, double ns, const char* end = ", ") {
    fmt::print("\"{}_ns\": {:.2f}{}", name, ns, end);
}

Pci control_pci(unsigned i) {
    Pci pci;
    pci.type = static_cast<std::uint8_t>(PduType::ack_flow_control);
    pci.sequence = i;
    pci.length = 52;
    return pci;
}

// `first`: of the PDUs, at the beginning of a cache line as in an mbuf.
void per_pdu(std::byte* first) {
    const auto at = [first](unsigned i) { return first + std::size_t{i} * kStride; };
    std::array<std::byte, 64> to{};
    row("copy_64", ns_of(kRounds, kPdus, [&](unsigned i) {
            std::memcpy(to.data(), at(i), to.size());
            keep(to);
        }));
    const auto parse_as = [&](const PciFormat& format) {
        return ns_of(kRounds, kPdus, [&](unsigned i) {
            Pci pci;
            keep(parse({at(i), 64}, 64, format, pci));
            keep(pci);
        });
    };
    row("pci_parse", parse_as(kDefaultFormat));
    const auto parse_control_at = [&](std::size_t offset) {
        for (unsigned i = 0; i < kPdus; ++i) write(control_pci(i), kDefaultFormat, at(i) + offset);
        return ns_of(kRounds, kPdus, [&](unsigned i) {
            Pci pci;
            keep(parse({at(i) + offset, 64}, 64, kDefaultFormat, pci));
            keep(pci);
            keep(parse_control({at(i) + offset, 64}, kDefaultFormat));
        });
    };
    // Fields that reach into a second cache line, and those that do not.
    row("control_parse_over_two_lines", parse_control_at(16));
    row("control_parse", parse_control_at(0));
    row("control_write", ns_of(kRounds, kPdus, [&](unsigned i) {
            write(control_pci(i), kDefaultFormat, at(i));
            write_control({i, i, i, i, i, i}, kDefaultFormat, at(i));
        }));
    Pci pci;
    pci.type = static_cast<std::uint8_t>(PduType::ack_flow_control);
    pci.length = 52;
    row("pci_write", ns_of(kRounds, kPdus, [&](unsigned i) {
            pci.sequence = i;
            write(pci, kDefaultFormat, at(i));
        }));
    row("ttl_with_checksum", ns_of(kRounds, kPdus, [&](unsigned i) {
            rewrite_ttl(at(i), static_cast<std::uint16_t>(i));
        }));
    row("checksum_1500", ns_of(kRounds / 4, kPdus, [&](unsigned i) {
            keep(inet_sum({at(i), 1500}));
        }));
    for (unsigned i = 0; i < kPdus; ++i) write(pci, kWideFormat, at(i));
    row("pci_parse_wide", parse_as(kWideFormat));
}

void per_message(const char* name, const CdapMessage& message, const char* end) {
    std::array<std::byte, 2048> to;
    const Bytes bytes = encode(message);
    const std::string prefix = name;
    constexpr unsigned kMessages = 200000;
    fmt::print("\"{}_bytes\": {}, ", name, bytes.size());
    row((prefix + "_encode").c_str(), ns_of(1, kMessages, [&](unsigned) {
            keep(encode(message, to));
        }));
    row((prefix + "_decode").c_str(), ns_of(1, kMessages, [&](unsigned) {
            keep(decode_cdap(bytes).has_value());
        }));
    row((prefix + "_decode_with_object").c_str(), ns_of(1, kMessages, [&](unsigned) {
            const auto read = decode_cdap(bytes);
            const auto object = object_of(*read);
            if (const auto* a = std::get_if<AData>(&*object)) keep(object_of(a->message)->index());
            keep(object->index());
        }), end);
}

}  // namespace

int main() {
    constexpr std::size_t kLine = 64;
    std::vector<std::byte> pdus(std::size_t{kPdus} * kStride + kLine);
    Rng rng(1);
    for (std::byte& b : pdus) b = static_cast<std::byte>(rng.next());
    const std::size_t past = reinterpret_cast<std::uintptr_t>(pdus.data()) % kLine;
    std::byte* const first = pdus.data() + (kLine - past) % kLine;
    for (unsigned i = 0; i < kPdus; ++i)
        write(control_pci(i), kDefaultFormat, first + std::size_t{i} * kStride);
    fmt::print("{{");
    per_pdu(first);
    per_message("connect", connect(), ", ");
    per_message("keepalive", keepalive(), ", ");
    per_message("lower_flows_10", lower_flows(), ", ");
    per_message("flow_request", flow_request(), "");
    fmt::print("}}\n");
    return 0;
}

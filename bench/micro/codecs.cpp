// What reading and writing the protocols of a normal DIF costs: PCIs and control PDUs that are in
// no cache but the last, beside a copy of 64 bytes of them; and CDAP messages, small and large.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/rng.hpp"
#include "micro.hpp"
#include "rina/cdap.hpp"
#include "rina/inet_checksum.hpp"
#include "rina/objects.hpp"
#include "rina/pci.hpp"

namespace sluice::bench {

namespace {

using namespace rina;

constexpr unsigned kPdus = 4096;
constexpr std::size_t kStride = 2048;  // of an mbuf
constexpr unsigned kMessages = 64;

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

Pci control_pci(unsigned i) {
    Pci pci;
    pci.type = static_cast<std::uint8_t>(PduType::ack_flow_control);
    pci.sequence = i;
    pci.length = 52;
    return pci;
}

// Each begins with a cache line, as in an mbuf.
class Pdus {
  public:
    Pdus() : bytes_((kPdus + 1) * kStride) {
        constexpr std::size_t kLine = 64;
        Rng rng(1);
        for (std::byte& b : bytes_) b = static_cast<std::byte>(rng.next());
        const std::size_t past = reinterpret_cast<std::uintptr_t>(bytes_.data()) % kLine;
        first_ = bytes_.data() + (kLine - past) % kLine;
    }
    std::byte* at(unsigned i) { return first_ + i * kStride; }

    // Others wrote there before.
    void write_all(const PciFormat& format, std::size_t offset = 0) {
        for (unsigned i = 0; i < kPdus; ++i) write(control_pci(i), format, at(i) + offset);
    }

  private:
    std::vector<std::byte> bytes_;
    std::byte* first_ = nullptr;
};

Pdus& pdus() {
    static Pdus all;
    return all;
}

template <typename Work>
void of_each(benchmark::State& state, Work&& work) {
    measure(state, kPdus, [&] {
        for (unsigned i = 0; i < kPdus; ++i) work(i, pdus().at(i));
    });
}

void copy(benchmark::State& state) {
    std::array<std::byte, 64> to{};
    of_each(state, [&](unsigned, const std::byte* pdu) {
        std::memcpy(to.data(), pdu, to.size());
        keep(to);
    });
}

void parse_pci(benchmark::State& state, const PciFormat& format) {
    pdus().write_all(format);
    of_each(state, [&](unsigned, const std::byte* pdu) {
        Pci pci;
        keep(parse({pdu, 64}, 64, format, pci));
        keep(pci);
    });
}

void parse_control_at(benchmark::State& state, std::size_t offset) {
    pdus().write_all(kDefaultFormat, offset);
    of_each(state, [&](unsigned, const std::byte* pdu) {
        Pci pci;
        keep(parse({pdu + offset, 64}, 64, kDefaultFormat, pci));
        keep(pci);
        keep(parse_control({pdu + offset, 64}, kDefaultFormat));
    });
}

void write_control_pdu(benchmark::State& state) {
    of_each(state, [&](unsigned i, std::byte* pdu) {
        write(control_pci(i), kDefaultFormat, pdu);
        write_control({i, i, i, i, i, i}, kDefaultFormat, pdu);
    });
}

void write_pci(benchmark::State& state) {
    Pci pci = control_pci(0);
    of_each(state, [&](unsigned i, std::byte* pdu) {
        pci.sequence = i;
        write(pci, kDefaultFormat, pdu);
    });
}

void rewrite_ttls(benchmark::State& state) {
    of_each(state, [](unsigned i, std::byte* pdu) {
        rewrite_ttl(pdu, static_cast<std::uint16_t>(i));
    });
}

void sum_1500(benchmark::State& state) {
    of_each(state, [](unsigned, const std::byte* pdu) { keep(inet_sum({pdu, 1500})); });
}

void register_pdus() {
    benchmark::RegisterBenchmark("codec/copy of 64 B", copy);
    benchmark::RegisterBenchmark("codec/PCI parse, 28 B", [](benchmark::State& state) {
        parse_pci(state, kDefaultFormat);
    });
    benchmark::RegisterBenchmark("codec/PCI parse, wide, 34 B", [](benchmark::State& state) {
        parse_pci(state, kWideFormat);
    });
    benchmark::RegisterBenchmark("codec/PCI write", write_pci);
    benchmark::RegisterBenchmark("codec/control PDU, parse", parse_control_at, 0);
    // Fields that reach into a second cache line.
    benchmark::RegisterBenchmark("codec/control PDU, parse over two lines", parse_control_at, 16);
    benchmark::RegisterBenchmark("codec/control PDU, write", write_control_pdu);
    benchmark::RegisterBenchmark("codec/TTL and checksum rewritten", rewrite_ttls);
    benchmark::RegisterBenchmark("codec/Internet checksum, 1500 B", sum_1500);
}

void register_message(const char* name, const CdapMessage& message) {
    const auto add = [&](const char* what, auto work) {
        benchmark::RegisterBenchmark(
            fmt::format("codec/CDAP {}, {}", what, name).c_str(),
            [message, work](benchmark::State& state) {
                const Bytes bytes = encode(message);
                measure(state, kMessages, [&] {
                    for (unsigned i = 0; i < kMessages; ++i) work(message, bytes);
                });
                state.counters["bytes"] = static_cast<double>(bytes.size());
            });
    };
    add("encode", [](const CdapMessage& m, const Bytes&) {
        std::array<std::byte, 2048> to;
        keep(encode(m, to));
        keep(to);
    });
    add("decode", [](const CdapMessage&, const Bytes& bytes) {
        keep(decode_cdap(bytes).has_value());
    });
    add("decode with object", [](const CdapMessage&, const Bytes& bytes) {
        const auto read = decode_cdap(bytes);
        const auto object = object_of(*read);
        if (const auto* a = std::get_if<AData>(&*object)) keep(object_of(a->message)->index());
        keep(object->index());
    });
}

}  // namespace

void register_codecs() {
    register_pdus();
    register_message("connect", connect());
    register_message("keepalive", keepalive());
    register_message("10 link states", lower_flows());
    register_message("flow request", flow_request());
}

}  // namespace sluice::bench

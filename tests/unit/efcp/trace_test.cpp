#include <catch2/catch.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "pcap_writer/pcap_reader.hpp"

// Traffic of unmodified rlite nodes: our connection stands in for one of the two. It is handed what
// the other sent and what its application wrote and read, and has to send what the recorded node
// sent: the same data PDUs, and the same control PDUs, field by field. When the application read
// is not in a trace; it is taken from the LWE that the recorded node told.

using namespace sluice;
using namespace sluice::efcp;

namespace {

struct Pdu {
    Instant at{};
    rina::Pci pci;
    std::vector<std::byte> bytes;
    rina::ControlPdu fields;
    bool is_control() const { return rina::is_control(pci.type); }
};

std::vector<std::byte> read_file(const std::string& name) {
    std::ifstream file(std::string(EFCP_TRACES) + "/" + name, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    std::vector<std::byte> bytes(text.size());
    std::transform(text.begin(), text.end(), bytes.begin(),
                   [](char c) { return static_cast<std::byte>(c); });
    return bytes;
}

// The data and control PDUs of a connection, both directions.
std::vector<Pdu> read_connection(const std::string& name, unsigned cep) {
    const std::vector<std::byte> bytes = read_file(name);
    REQUIRE_FALSE(bytes.empty());
    auto reader = pcap::Reader::open(bytes, name);
    REQUIRE(reader);
    std::vector<Pdu> pdus;
    while (true) {
        const auto record = reader->next();
        REQUIRE(record);
        if (!*record) break;
        const std::span<const std::byte> frame = (*record)->data;
        if (frame.size() < 14 || frame[12] != std::byte{0xd1} || frame[13] != std::byte{0xf0})
            continue;
        Pdu pdu;
        pdu.at = Instant{(*record)->wall_ns};
        const auto sdu = frame.subspan(14);
        REQUIRE(rina::parse(sdu, sdu.size(), rina::kDefaultFormat, pdu.pci) ==
                rina::PciError::none);
        if (pdu.pci.type == static_cast<std::uint8_t>(rina::PduType::management) ||
            pdu.pci.source_cep.value != cep)
            continue;
        pdu.bytes.assign(sdu.begin(), sdu.begin() + pdu.pci.length);
        if (pdu.is_control()) pdu.fields = rina::parse_control(pdu.bytes, rina::kDefaultFormat);
        pdus.push_back(std::move(pdu));
    }
    return pdus;
}

// Plays the node with this address.
class Player {
  public:
    Player(const std::vector<Pdu>& pdus, unsigned node, const EfcpPolicies& policies)
        : node_(rina::Address{node}) {
        for (const Pdu& pdu : pdus) (pdu.pci.source == node_ ? ours_ : theirs_).push_back(pdu);
        REQUIRE_FALSE(ours_.empty());
        const rina::Pci& first = ours_.front().pci;
        connection_ = std::make_unique<Connection>(
            ConnectionIds{node_, first.destination, first.source_cep, first.destination_cep,
                          first.qos},
            policies, rina::kDefaultFormat);
    }

    void play() {
        for (const Pdu& pdu : ours_) {
            INFO("recorded PDU type " << int{pdu.pci.type} << " sequence " << pdu.pci.sequence
                                      << " ack " << pdu.fields.ack << " LWE "
                                      << pdu.fields.new_lwe);
            now_ = std::max(now_, pdu.at);
            if (pdu.is_control())
                expect_control(pdu);
            else
                expect_data(pdu);
        }
        CHECK(controls_.empty());
        CHECK(sent_.empty());
    }

  private:
    // What the recorded node knew when it sent this: it says so itself.
    void feed_controls(const Pdu& pdu) {
        while (fed_control_ < theirs_.size()) {
            const Pdu& next = theirs_[fed_control_];
            const bool is_known = next.is_control() && next.fields.new_rwe <= pdu.fields.my_rwe &&
                                  next.at <= pdu.at && next.fields.new_lwe <= pdu.fields.my_lwe;
            if (next.is_control() && !is_known) break;
            if (next.is_control()) put(next);
            ++fed_control_;
        }
    }
    bool feed_data() {
        while (fed_data_ < theirs_.size() && theirs_[fed_data_].is_control()) ++fed_data_;
        if (fed_data_ == theirs_.size()) return false;
        put(theirs_[fed_data_++]);
        return true;
    }
    void put(const Pdu& pdu) {
        RxItem item{static_cast<PduToken>(1), pdu.pci, pdu.bytes};
        REQUIRE(connection_->on_burst(now_, {&item, 1}, out_) == 1);
        collect();
    }
    void read_up_to(std::uint64_t lwe) {
        while (controls_.empty() && connection_->receiver().lwe() < lwe &&
               connection_->receiver().backlog() > 0) {
            connection_->consumed(now_, 1, out_);
            collect();
        }
    }
    void expect_control(const Pdu& pdu) {
        feed_controls(pdu);
        // Either PDUs received or PDUs read made it due; the others came, or were read, before.
        const std::uint64_t half = connection_->policies().window->initial_credit / 2;
        const bool is_read_due = pdu.fields.ack - last_ack_ < half;
        last_ack_ = pdu.fields.ack;
        while (controls_.empty()) {
            if (!is_read_due) read_up_to(pdu.fields.new_lwe);
            if (!controls_.empty() || connection_->receiver().next() >= pdu.fields.ack) break;
            if (!feed_data()) break;
        }
        read_up_to(pdu.fields.new_lwe);
        if (controls_.empty()) {
            // The A-timer it is.
            now_ = std::max(now_, connection_->next_deadline());
            connection_->on_timeout(now_, out_);
            collect();
        }
        REQUIRE_FALSE(controls_.empty());
        const ControlItem item = controls_.front();
        controls_.erase(controls_.begin());
        CHECK(item.fields == pdu.fields);
        rina::Pci expected = pdu.pci;
        CHECK(item.pci == expected);
        std::vector<std::byte> built(item.pci.length);
        write(item, rina::kDefaultFormat, built.data());
        const bool is_same = built == pdu.bytes;
        CHECK(is_same);
    }
    void expect_data(const Pdu& pdu) {
        const TxItem item{static_cast<PduToken>(2),
                          pdu.pci.length -
                              static_cast<std::uint32_t>(rina::kDefaultFormat.bytes())};
        REQUIRE(connection_->submit(now_, {&item, 1}, out_) == 1);
        collect();
        // It had to wait for the window, or for the first PDU to be acknowledged.
        while (sent_.empty() && fed_control_ < theirs_.size()) {
            if (theirs_[fed_control_].is_control()) put(theirs_[fed_control_]);
            ++fed_control_;
        }
        REQUIRE_FALSE(sent_.empty());
        CHECK(sent_.front() == pdu.pci);
        sent_.erase(sent_.begin());
    }
    void collect() {
        for (const SendItem& item : out_.send) sent_.push_back(item.pci);
        for (const ControlItem& item : out_.control) controls_.push_back(item);
        CHECK(out_.drop.empty());
        out_.clear();
    }

    rina::Address node_;
    std::vector<Pdu> ours_, theirs_;
    std::unique_ptr<Connection> connection_;
    Outbox out_;
    Instant now_{};
    std::size_t fed_data_ = 0, fed_control_ = 0;
    std::uint64_t last_ack_ = 1;
    std::vector<ControlItem> controls_;
    std::vector<rina::Pci> sent_;
};

void replay(const std::string& name, unsigned cep, unsigned node, const EfcpPolicies& policies) {
    INFO(name << ", CEP-id " << cep << ", node " << node);
    Player(read_connection(name, cep), node, policies).play();
}

}  // namespace

TEST_CASE("a reliable ping between rlite nodes", "[trace]") {
    const std::string name = "s1-05-flow-reliable-ping.pcap";
    // Node 3 sends its second PDU on CEP-id 1 before the first is acknowledged; ours waits.
    for (const unsigned cep : {0u, 1u})
        for (const unsigned node : {1u, 3u})
            if (cep == 0 || node == 1) replay(name, cep, node, EfcpPolicies::rlite_reliable());
}

TEST_CASE("a reliable flow of 60 SDUs between rlite nodes", "[trace]") {
    const std::string name = "s1-06-flow-reliable-perf-60x1400.pcap";
    // Node 3 on CEP-id 1: its slow start is the business of its congestion control.
    for (const unsigned cep : {0u, 1u})
        for (const unsigned node : {1u, 3u})
            if (cep == 0 || node == 1) replay(name, cep, node, EfcpPolicies::rlite_reliable());
}

TEST_CASE("flow control without retransmission between rlite nodes", "[trace]") {
    const std::string name = "s1-09-flow-fc-no-rtx.pcap";
    for (const unsigned cep : {0u, 1u, 2u, 3u})
        for (const unsigned node : {1u, 3u})
            replay(name, cep, node, EfcpPolicies::rlite_flow_control(16));
}

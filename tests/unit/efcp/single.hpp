#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <vector>

#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/control_pdu.hpp"
#include "pair.hpp"

// One connection by hand: what is put into it comes out in lists that the test looks at.
namespace sluice::efcp::test {

inline constexpr std::uint8_t kFc = 0xc8, kAck = 0xc4, kAckFc = 0xcc, kSackFc = 0xce,
                              kRendezvous = 0xcf, kData = 0x80;
inline constexpr std::uint16_t kDrf = rina::pci_flag::kDrf;

class Single {
  public:
    struct Sent {
        std::uint64_t seq;
        bool drf;
        bool kept;
        std::uintptr_t token;
    };
    struct Delivered {
        std::uint64_t seq;
        std::uintptr_t token;
    };

    explicit Single(const EfcpPolicies& policies,
                    const rina::PciFormat& f = rina::kDefaultFormat)
        : format(f), c(ids_of(0), policies, f) {}

    void clear() {
        sent.clear();
        delivered.clear();
        controls.clear();
        dropped.clear();
        done.clear();
        events = 0;
    }

    // Tokens of SDUs are 1000, 1001, ...; of PDUs received 1, 2, ...
    std::size_t submit(std::size_t n, std::uint32_t size = 100) {
        std::vector<TxItem> items;
        for (std::size_t i = 0; i < n; ++i)
            items.push_back({static_cast<PduToken>(next_tx + i), size});
        const std::size_t taken = c.submit(now, items, out);
        next_tx += taken;
        collect();
        return taken;
    }
    RxItem item(std::uint8_t type, std::uint64_t seq, std::uint16_t flags) {
        RxItem rx;
        rx.token = static_cast<PduToken>(next_rx++);
        rx.pci.type = type;
        rx.pci.flags = flags;
        rx.pci.sequence = seq & format.sequence_mask();
        rx.pci.source = kAddress[1];
        rx.pci.destination = kAddress[0];
        rx.pci.source_cep = kCep[1];
        rx.pci.destination_cep = kCep[0];
        rx.pci.length = static_cast<std::uint32_t>(format.bytes()) + 10;
        return rx;
    }
    void put(const RxItem& rx) {
        if (c.on_burst(now, {&rx, 1}, out) != 1) ++refused;
        collect();
    }
    void data(std::uint64_t seq, std::uint16_t flags = 0) { put(item(kData, seq, flags)); }
    void data(std::initializer_list<std::uint64_t> seqs) {
        for (const std::uint64_t seq : seqs) data(seq);
    }
    // As one burst.
    void burst(const std::vector<std::uint64_t>& seqs) {
        std::vector<RxItem> items;
        for (const std::uint64_t seq : seqs) items.push_back(item(kData, seq, 0));
        refused += items.size() - c.on_burst(now, items, out);
        collect();
    }
    void control(std::uint8_t type, const rina::ControlPdu& fields,
                 const std::vector<SackBlock>& blocks = {}, std::uint16_t flags = 0) {
        ControlItem built;
        built.pci = item(type, next_control++, flags).pci;
        --next_rx;
        built.fields = fields;
        built.sack.clear();
        for (const SackBlock& block : blocks) built.sack.add(block);
        built.pci.length = static_cast<std::uint32_t>(format.control_bytes() +
                                                      blocks.size() * 2 * format.sequence);
        bytes.resize(built.pci.length);
        write(built, format, bytes.data());
        RxItem rx = item(type, built.pci.sequence, flags);
        rx.pci.length = built.pci.length;
        rx.bytes = bytes;
        put(rx);
    }
    // Acknowledges everything before `next`, and lets `more` further PDUs be sent.
    void ack(std::uint64_t next, std::uint64_t rwe, const std::vector<SackBlock>& blocks = {}) {
        rina::ControlPdu fields;
        fields.ack = next;
        fields.new_rwe = rwe;
        fields.new_lwe = next;
        control(c.policies().sack ? kSackFc : c.policies().window ? kAckFc : kAck, fields, blocks);
    }
    void credit(std::uint64_t rwe) {
        rina::ControlPdu fields;
        fields.new_rwe = rwe;
        control(kFc, fields);
    }
    void consumed(std::uint32_t n) {
        c.consumed(now, n, out);
        collect();
    }
    // Lets time pass, and deadlines fire when they are due.
    void pass(Duration d) {
        const Instant until = now + d;
        for (int i = 0; i < 100000 && c.next_deadline() <= until; ++i) {
            now = std::max(now, c.next_deadline());
            c.on_timeout(now, out);
            collect();
        }
        now = until;
    }
    void collect() {
        for (const SendItem& s : out.send) {
            sent.push_back({s.pci.sequence, (s.pci.flags & kDrf) != 0, s.kept,
                            static_cast<std::uintptr_t>(s.token)});
            last_sent = s.pci;
        }
        for (const DeliverItem& d : out.deliver)
            delivered.push_back({d.sequence, static_cast<std::uintptr_t>(d.token)});
        for (const ControlItem& item : out.control) controls.push_back(item);
        for (const DropItem& d : out.drop) ++dropped[d.reason];
        for (const PduToken t : out.done) done.push_back(static_cast<std::uintptr_t>(t));
        events |= out.events;
        out.clear();
    }
    std::vector<std::uint64_t> sent_seqs() const {
        std::vector<std::uint64_t> seqs;
        for (const Sent& s : sent) seqs.push_back(s.seq);
        return seqs;
    }
    std::vector<std::uint64_t> delivered_seqs() const {
        std::vector<std::uint64_t> seqs;
        for (const Delivered& d : delivered) seqs.push_back(d.seq);
        return seqs;
    }

    rina::PciFormat format;
    Connection c;
    Outbox out;
    Instant now{1'000'000'000};
    std::uintptr_t next_tx = 1000;
    std::uintptr_t next_rx = 1;
    std::uint64_t next_control = 0;
    std::size_t refused = 0;
    std::vector<std::byte> bytes;
    std::vector<Sent> sent;
    rina::Pci last_sent;
    std::vector<Delivered> delivered;
    std::vector<ControlItem> controls;
    std::map<DropReason, unsigned> dropped;
    std::vector<std::uintptr_t> done;
    std::uint8_t events = 0;
};

using Seqs = std::vector<std::uint64_t>;

inline Seqs range(std::uint64_t first, std::uint64_t last) {
    Seqs seqs;
    for (std::uint64_t s = first; s <= last; ++s) seqs.push_back(s);
    return seqs;
}

inline EfcpPolicies with_sack(std::uint32_t credit) {
    EfcpPolicies policies = EfcpPolicies::sluice_reliable(credit);
    policies.congestion = Congestion::none;
    return policies;
}
inline EfcpPolicies flow_control_only(std::uint32_t credit, Dialect dialect) {
    EfcpPolicies policies = EfcpPolicies::rlite_flow_control(credit);
    policies.dialect = dialect;
    return policies;
}

}  // namespace sluice::efcp::test

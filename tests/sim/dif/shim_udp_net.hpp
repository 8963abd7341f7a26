#pragma once

#include "shim_end.hpp"
#include "shim_udp/core/shim_udp.hpp"

namespace sluice::sim {

// A shim DIF over an IP network: hosts with addresses and sockets, a name service, and a translator
// of ports (NAT) in front of each host. All that is a model; the shims are the product's.
class ShimUdpNet final : public Medium {
  public:
    // The hosts' names, which are those of their IPC processes; and that of the DIF above, which
    // leads to one host at a time, as each name has one address.
    ShimUdpNet(Env& env, std::string dif, const link_model::Config& config,
               const std::vector<std::string>& hosts, std::string name_of_all, std::uint32_t mtu);
    ~ShimUdpNet() override;

    const std::string& dif() const override { return dif_; }
    Provider& end(std::size_t host) override;
    void set_config(const link_model::Config& config) override;
    // Loudly, the cable of one of the two; between two hosts alone, both see it.
    void cut(std::size_t a, std::size_t b, bool silently) override;
    void mend(std::size_t a, std::size_t b) override;
    bool is_up(std::size_t a, std::size_t b) const override;
    void power_off(std::size_t host, bool silently) override;
    void power_on(std::size_t host) override;
    // A translator forgets what it has told others, the name of all moves, or answers are late.
    void disturb() override;
    bool has_dif_name(std::size_t host) const override { return host == owner_; }
    std::string report() const override;

  private:
    class Host;
    struct Datagram {
        std::size_t from = 0;
        shim_udp::Endpoint source, destination;
        PduToken token{};
    };

    shim_udp::IpAddress address_of(std::size_t host, bool of_all) const;
    std::optional<shim_udp::IpAddress> resolve(const std::string& name) const;
    std::optional<std::string> name_of(const shim_udp::IpAddress& address) const;
    std::size_t host_of(const shim_udp::IpAddress& address) const;
    void send(std::size_t from, const shim_udp::Endpoint& source,
              const shim_udp::Endpoint& destination, const Bytes& bytes);
    void deliver(const Datagram& datagram);
    void set_plugged(std::size_t host, bool plugged);
    Duration name_service_takes();

    Env& env_;
    std::string dif_;
    std::vector<std::string> names_;
    std::string name_of_all_;
    std::uint32_t mtu_;
    std::size_t owner_ = 0;
    std::vector<std::unique_ptr<Host>> hosts_;
    std::set<std::pair<std::size_t, std::size_t>> blocked_;
    Instant slow_until_{};
    std::uint64_t rebound_ = 0;  // ports that a translator has changed
};

}  // namespace sluice::sim

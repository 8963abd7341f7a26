#include "app/vhost_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

namespace sluice::app {
namespace {

std::string value_in(const std::string& device, const std::string& key) {
    const std::size_t at = device.find("," + key + "=");
    if (at == std::string::npos) return "";
    const std::size_t begin = at + key.size() + 2;
    return device.substr(begin, device.find(',', begin) - begin);
}

bool is_virtio_user(const std::string& device) {
    return device.starts_with("net_virtio_user") || device.starts_with("virtio_user");
}

bool answers(const std::string& path) {
    sockaddr_un address{};
    if (path.size() >= sizeof(address.sun_path)) return false;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    const bool refused = connect(fd, reinterpret_cast<const sockaddr*>(&address),
                                 sizeof(address)) != 0 && errno == ECONNREFUSED;
    close(fd);
    return !refused;
}

}  // namespace

std::string vhost_socket_of(const dp::PortOptions& options) {
    const std::string& device = options.device;
    if (device.starts_with("net_vhost")) return value_in(device, "iface");
    if (is_virtio_user(device)) return value_in(device, "path");
    return "";
}

bool serves_vhost_socket(const dp::PortOptions& options) {
    const bool vhost = options.device.starts_with("net_vhost");
    return vhost ? value_in(options.device, "client") != "1"
                 : value_in(options.device, "server") == "1";
}

bool connects_once(const dp::PortOptions& options) {
    return is_virtio_user(options.device) && !serves_vhost_socket(options);
}

Result<> prepare_vhost_socket(const dp::PortOptions& options) {
    const std::string path = vhost_socket_of(options);
    if (path.empty()) return {};
    const std::string at = options.where.empty() ? "" : options.where + ": ";
    const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
    struct stat info {};
    if (stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode))
        return fail(ENOENT, "{}port '{}' ({}): there is no folder {} for its socket", at,
                    options.name, options.device, folder.string());
    // /dev/vhost-net and the like are no sockets.
    if (stat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return {};
    if (!serves_vhost_socket(options)) return {};
    if (answers(path))
        return fail(EADDRINUSE, "{}port '{}': socket {} is served by another process", at,
                    options.name, path);
    if (unlink(path.c_str()) != 0)
        return fail(errno, "{}port '{}': cannot remove the stale socket {}: {}", at, options.name,
                    path, std::strerror(errno));
    return {};
}

}  // namespace sluice::app

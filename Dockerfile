# emulab in a container.
#
#   docker build -t emulab .
#   docker run --rm --privileged emulab                            the demo: one request the whole way
#   docker run --rm --privileged -v "$PWD:/work" -w /work emulab run my.yaml -- curl -s http://my.example.com/
#   docker run --rm -it --privileged --entrypoint bash emulab      a shell, for labs that stay up
#
# Without privileges, in a user namespace of its own: Docker's seccomp profile forbids making one, and so does its
# AppArmor profile where the host has AppArmor (then add --security-opt apparmor=unconfined).
#
#   docker run --rm --user 1000 --security-opt seccomp=unconfined emulab
FROM debian:bookworm-slim

WORKDIR /opt/emulab
COPY . .
RUN scripts/setup \
    && rm -rf /var/lib/apt/lists/* /root/.cache

ENV PATH=/opt/emulab/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENTRYPOINT ["emulab"]
CMD ["run", "topologies/shop.yaml", "--", "curl", "-s", "http://shop.example.com/products/42"]

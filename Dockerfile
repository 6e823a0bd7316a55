# emulab in a container.
#
#   docker build -t emulab .
#   docker run --rm --privileged emulab                            the demo: one request the whole way
#   docker run --rm --privileged -v "$PWD:/work" -w /work emulab run my.yaml -- curl -s http://my.example.com/
#   docker run --rm -it --privileged --entrypoint bash emulab      a shell, for labs that stay up
#
# Without privileges, in a user namespace of its own. Docker's seccomp and AppArmor profiles forbid making one,
# and its read-only /proc/sys forbids the sysctls of the lab's namespaces:
#
#   docker run --rm --user 1000 --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
#     --security-opt systempaths=unconfined emulab
FROM debian:bookworm-slim

WORKDIR /opt/emulab
COPY . .
RUN scripts/setup \
    && .venv/bin/python -m compileall -q emulab \
    && rm -rf /var/lib/apt/lists/* /root/.cache

ENV PATH=/opt/emulab/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENTRYPOINT ["emulab"]
CMD ["run", "topologies/shop.yaml", "--", "curl", "-s", "http://shop.example.com/products/42"]

"""`python -m deployments.serve`: one process, no worker, for UI, schedules and API triggers."""

from obscale.cli.prefect_at_home import settle

settle(quiet=False)

from prefect.types.entrypoint import EntrypointType  # noqa: E402 - after settings

from flows.scale_out import scale_out  # noqa: E402


def main() -> None:
    """Serve the deployment `scale-out/obscale` until Ctrl-C. Needs a running Prefect server."""
    scale_out.serve(
        name="obscale",
        description="Add one observer to an OceanBase cluster, and prove that it joined.",
        tags=["obscale", "oceanbase"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


if __name__ == "__main__":
    main()

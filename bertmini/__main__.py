from bertmini.cli import main

raise SystemExit(main())
